#include "vocabulary.hpp"

#include "log.hpp"

#include <climits>

namespace portable {

Tokens Vocabulary::encode(const std::string &text, bool start) const {
    if (text.size() > INT32_MAX / 2) {
        throw Failure("the text is too long to be tokenized");
    }
    if (callback_.tokenizer_callback) {
        return encode_by_callback(text);
    }
    int length = static_cast<int>(text.size());
    Tokens tokens(text.size() + 2);
    int count = llama_tokenize(model_.vocab(), text.data(), length, tokens.data(), static_cast<int>(tokens.size()),
                               start, true);
    if (count < 0 && count != INT32_MIN) {
        tokens.resize(static_cast<size_t>(-count));
        count = llama_tokenize(model_.vocab(), text.data(), length, tokens.data(), static_cast<int>(tokens.size()),
                               start, true);
    }
    if (count < 0) {
        throw Failure("the text cannot be tokenized");
    }
    tokens.resize(static_cast<size_t>(count));
    // A template of the caller's own may begin with the first token's text.
    llama_token first = llama_vocab_bos(model_.vocab());
    if (start && tokens.size() > 1 && tokens[0] == first && tokens[1] == first) {
        tokens.erase(tokens.begin());
    }
    return tokens;
}

Tokens Vocabulary::encode_by_callback(const std::string &text) const {
    Tokens tokens(text.size() + 16); // no tokenizer needs more than one token per byte, and a few around the text
    int count = callback_.tokenizer_callback(callback_.tokenizer_userdata, text.data(), static_cast<int>(text.size()),
                                             tokens.data(), static_cast<int>(tokens.size()));
    if (count < 0 || static_cast<size_t>(count) > tokens.size()) {
        throw Failure("the tokenizer callback returned " + std::to_string(count));
    }
    tokens.resize(static_cast<size_t>(count));
    check(tokens);
    return tokens;
}

std::string Vocabulary::piece(llama_token token) const {
    char buffer[256];
    int length = llama_token_to_piece(model_.vocab(), token, buffer, sizeof buffer, 0, !skip_special_);
    if (length >= 0) {
        return std::string(buffer, static_cast<size_t>(length));
    }
    std::string text(static_cast<size_t>(-length), '\0');
    length = llama_token_to_piece(model_.vocab(), token, text.data(), -length, 0, !skip_special_);
    text.resize(length > 0 ? static_cast<size_t>(length) : 0);
    return text;
}

void Vocabulary::check(const Tokens &tokens) const {
    for (llama_token token : tokens) {
        if (token < 0 || token >= model_.vocabulary()) {
            throw Failure("token " + std::to_string(token) + " is outside of the vocabulary of " +
                          std::to_string(model_.vocabulary()) + " tokens");
        }
    }
}

size_t whole_characters(const std::string &text) {
    for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        unsigned char byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xC0) == 0x80) {
            continue; // inside a character: its first byte is further back
        }
        size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        return length > back ? text.size() - back : text.size();
    }
    // No first byte near the end: the bytes are whole, or were never text; either way nothing is worth waiting for.
    return text.size();
}

} // namespace portable
