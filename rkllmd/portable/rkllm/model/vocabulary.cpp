#include "vocabulary.hpp"

#include "log.hpp"

#include <algorithm>
#include <climits>

namespace portable {

Tokens Vocabulary::encode(const Texts &texts, bool start) const {
    if (callback_.tokenizer_callback) {
        Tokens tokens;
        std::vector<std::string> parts(1);
        for (const Text &text : texts) {
            if (text.control) {
                parts.back() += text.text;
            } else {
                break_markers(text.text, parts);
            }
        }
        for (const std::string &part : parts) {
            Tokens more = encode_by_callback(part);
            tokens.insert(tokens.end(), more.begin(), more.end());
        }
        return tokens;
    }
    bool escaped = std::any_of(texts.begin(), texts.end(),
                               [this](const Text &text) { return !text.control && has_marker(text.text); });
    Tokens tokens = escaped ? encode_apart(texts, start) : tokenizer_.tokenize(joined(texts), start, true);
    // A template of the caller's own may begin with the first token's text.
    llama_token first = llama_vocab_bos(model_.vocab());
    if (start && tokens.size() > 1 && tokens[0] == first && tokens[1] == first) {
        tokens.erase(tokens.begin());
    }
    return tokens;
}

// What lies between the markers of a template and what somebody has typed belong together, as the engine sees it: only
// at a control token does it begin anew.
Tokens Vocabulary::encode_apart(const Texts &texts, bool start) const {
    Texts runs;
    auto add = [&runs](const std::string &text, bool control) {
        if (text.empty()) {
            return;
        }
        if (runs.empty() || runs.back().control != control) {
            runs.push_back({"", control});
        }
        runs.back().text += text;
    };
    for (const Text &text : texts) {
        auto [begin, end] = text.control ? marked_part(text.text) : std::pair<size_t, size_t>{0, 0};
        add(text.text.substr(0, begin), false);
        add(text.text.substr(begin, end - begin), true);
        add(text.text.substr(end), false);
    }
    Tokens tokens;
    if (start && llama_vocab_get_add_bos(model_.vocab())) {
        tokens.push_back(llama_vocab_bos(model_.vocab()));
    }
    for (const Text &run : runs) {
        Tokens more = tokenizer_.tokenize(run.text, false, run.control);
        tokens.insert(tokens.end(), more.begin(), more.end());
    }
    if (start && llama_vocab_get_add_eos(model_.vocab())) {
        tokens.push_back(llama_vocab_eos(model_.vocab()));
    }
    return tokens;
}

bool Vocabulary::has_marker(const std::string &text) const {
    auto [begin, end] = marked_part(text);
    return begin < end;
}

// From the first marker to the end of the last one.
std::pair<size_t, size_t> Vocabulary::marked_part(const std::string &text) const {
    std::pair<size_t, size_t> part{0, 0};
    for (const auto &place : tokenizer_.special().places(text, ALL_SPECIAL, tokenizer_.stop())) {
        if (llama_vocab_get_attr(model_.vocab(), place.token) & MARKERS) {
            part = {part.second ? part.first : place.begin, place.end};
        }
    }
    return part;
}

// A tokenizer of the caller's own takes every marker for a control token: it is shown them in two parts.
void Vocabulary::break_markers(const std::string &text, std::vector<std::string> &parts) const {
    for (size_t at = 0; at < text.size(); ++at) {
        parts.back() += text[at];
        if (tokenizer_.special().length_at(text, at, MARKERS) > 1) {
            parts.emplace_back();
        }
    }
}

Tokens Vocabulary::encode_by_callback(const std::string &text) const {
    if (text.size() > INT32_MAX / 2) {
        throw Failure("the text is too long to be tokenized");
    }
    Tokens tokens(text.size() + 16); // no tokenizer needs more than one token per byte, and a few around the text
    int count = callback_.tokenizer_callback(callback_.tokenizer_userdata, text.data(), static_cast<int>(text.size()),
                                             tokens.data(), static_cast<int>(tokens.size()));
    throw_if(tokenizer_.stop());
    if (count < 0 || static_cast<size_t>(count) > tokens.size()) {
        throw Failure("the tokenizer callback returned " + std::to_string(count));
    }
    tokens.resize(static_cast<size_t>(count));
    check(tokens);
    return tokens;
}

std::string Vocabulary::piece(llama_token token, bool special) const {
    char buffer[256];
    int length = llama_token_to_piece(model_.vocab(), token, buffer, sizeof buffer, 0, special);
    if (length >= 0) {
        return std::string(buffer, static_cast<size_t>(length));
    }
    std::string text(static_cast<size_t>(-length), '\0');
    length = llama_token_to_piece(model_.vocab(), token, text.data(), -length, 0, special);
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
