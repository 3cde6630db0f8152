// Text to tokens by the engine, so that no text takes longer than in proportion to its length, or can't be aborted.
#pragma once

#include "special_tokens.hpp"

#include <future>

namespace portable {

using Tokens = std::vector<llama_token>;

class Tokenizer {
  public:
    // `stop` is looked at meanwhile, by whoever uses it.
    Tokenizer(const llama_vocab *vocab, const std::atomic<bool> &stop) : vocab_(vocab), special_(vocab), stop_(stop) {}

    // The engine's tokens of the text. `start`: it begins a sequence. `control`: its markers become control tokens.
    // Throws a Failure, and Aborted.
    Tokens tokenize(const std::string &text, bool start, bool control);

    const SpecialTokens &special() const { return special_; }
    const std::atomic<bool> &stop() const { return stop_; }

  private:
    Tokens long_text(const std::string &text, bool start, bool control);
    Tokens between(std::string text);

    const llama_vocab *vocab_;
    const SpecialTokens special_;
    const std::atomic<bool> &stop_;
    // What an aborted run has left, and the engine has not finished. Its destructor waits for that.
    std::future<Tokens> left_;
};

} // namespace portable
