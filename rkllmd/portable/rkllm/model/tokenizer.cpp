#include "tokenizer.hpp"

#include "log.hpp"

#include <chrono>

namespace portable {
namespace {

// The engine's time grows with the square of the number of special tokens, which is nothing in a text as short as this.
constexpr size_t SHORT_TEXT = 4096;
// A slow machine's engine needs a hundredth of a second for so much; more is worth a thread.
constexpr size_t SHORT_PIECE = 1 << 15;
constexpr std::chrono::milliseconds PATIENCE{10};

Tokens by_engine(const llama_vocab *vocab, const std::string &text, bool start, bool control) {
    int length = static_cast<int>(text.size());
    Tokens tokens(text.size() + 2);
    int count =
        llama_tokenize(vocab, text.data(), length, tokens.data(), static_cast<int>(tokens.size()), start, control);
    if (count < 0 && count != INT32_MIN) {
        tokens.resize(static_cast<size_t>(-count));
        count =
            llama_tokenize(vocab, text.data(), length, tokens.data(), static_cast<int>(tokens.size()), start, control);
    }
    if (count < 0) {
        throw Failure("the text cannot be tokenized");
    }
    tokens.resize(static_cast<size_t>(count));
    return tokens;
}

void wait_for(std::future<Tokens> &work, const std::atomic<bool> &stop) {
    while (work.wait_for(PATIENCE) != std::future_status::ready) {
        throw_if(stop);
    }
}

} // namespace

Tokens Tokenizer::tokenize(const std::string &text, bool start, bool control) {
    if (text.size() > INT32_MAX / 2) {
        throw Failure("the text is too long to be tokenized");
    }
    return text.size() <= SHORT_TEXT ? by_engine(vocab_, text, start, control) : long_text(text, start, control);
}

// To the engine, a special token ends what is before it and begins what is behind it, as the text's ends do.
Tokens Tokenizer::long_text(const std::string &text, bool start, bool control) {
    Tokens around = start ? by_engine(vocab_, "", true, control) : Tokens();
    bool has_first = around.size() > 1 || (around.size() == 1 && llama_vocab_get_add_bos(vocab_));
    Tokens tokens(around.begin(), around.begin() + (has_first ? 1 : 0));
    auto add = [&](size_t from, size_t to) {
        if (from < to) {
            Tokens more = between(text.substr(from, to - from));
            tokens.insert(tokens.end(), more.begin(), more.end());
        }
    };
    size_t at = 0;
    for (const auto &place : special_.places(text, control ? ALL_SPECIAL : LLAMA_TOKEN_ATTR_USER_DEFINED, stop_)) {
        throw_if(stop_);
        add(at, place.from);
        tokens.push_back(place.token);
        at = place.to;
    }
    add(at, text.size());
    tokens.insert(tokens.end(), around.begin() + (has_first ? 1 : 0), around.end());
    return tokens;
}

// Nothing can stop the engine within a piece. An aborted run leaves a long one to its thread; one at a time.
Tokens Tokenizer::between(std::string text) {
    if (text.size() <= SHORT_PIECE) {
        return by_engine(vocab_, text, false, false);
    }
    if (left_.valid()) {
        wait_for(left_, stop_);
    }
    left_ = std::async(std::launch::async, [vocab = vocab_, text = std::move(text)] {
        return by_engine(vocab, text, false, false);
    });
    wait_for(left_, stop_);
    return left_.get();
}

} // namespace portable
