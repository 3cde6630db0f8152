// Text to tokens and back.
#pragma once

#include "abi.hpp"
#include "model.hpp"
#include "special_tokens.hpp"
#include "text.hpp"
#include "tokenizer.hpp"

#include <string>
#include <vector>

namespace portable {

class Vocabulary {
  public:
    // `stop`: whether the run that wants tokens is aborted.
    Vocabulary(const Model &model, const RKLLMCallback &callback, const std::atomic<bool> &stop)
        : model_(model), callback_(callback), tokenizer_(model.vocab(), stop) {}

    // By the caller's tokenizer if there is one. `start`: the text begins a sequence, so the model's first token goes
    // before it.
    Tokens encode(const Texts &texts, bool start) const;

    // Whether the text holds a marker that would become a control token.
    bool has_marker(const std::string &text) const;

    // The bytes that a token stands for; they need not be whole characters. A control token has none unless `special`.
    std::string piece(llama_token token, bool special) const;

    bool ends_generation(llama_token token) const { return llama_vocab_is_eog(model_.vocab(), token); }

    // Whether it is a control token, which stands for no text.
    bool is_marker(llama_token token) const { return (llama_vocab_get_attr(model_.vocab(), token) & MARKERS) != 0; }

    // The engine aborts the process when it looks up a token that the vocabulary does not have.
    void check(const Tokens &tokens) const;

  private:
    Tokens encode_apart(const Texts &texts, bool start) const;
    Tokens encode_by_callback(const std::string &text) const;
    std::pair<size_t, size_t> marked_part(const std::string &text) const;
    void break_markers(const std::string &text, std::vector<std::string> &parts) const;

    const Model &model_;
    const RKLLMCallback &callback_;
    mutable Tokenizer tokenizer_; // used by whoever has claimed the session
};

// Length of the part of the text that consists of whole UTF-8 characters.
size_t whole_characters(const std::string &text);

} // namespace portable
