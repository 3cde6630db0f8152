// Compares our tokens with the engine's, for random mixes of special tokens, halves of them, spaces and words; or, with
// a number of copies of a text, says how long ours take; or, with "abort", whether they end when they are told to.
#include "log.hpp"
#include "tokenizer.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <unistd.h>

using portable::Tokens;

namespace {

Tokens by_engine(const llama_vocab *vocab, const std::string &text, bool start, bool control) {
    Tokens tokens(text.size() + 8);
    int count = llama_tokenize(vocab, text.data(), static_cast<int>(text.size()), tokens.data(),
                               static_cast<int>(tokens.size()), start, control);
    tokens.resize(static_cast<size_t>(count));
    return tokens;
}

std::vector<std::string> parts_of(const llama_vocab *vocab) {
    std::vector<std::string> parts{" ", "  ", "\n", "\n\n\n", "a", "word", " Words, and more", "\xc3\xa4", "<", ">", "|"};
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); ++token) {
        if (llama_vocab_get_attr(vocab, token) & portable::ALL_SPECIAL) {
            std::string text = llama_vocab_get_text(vocab, token);
            parts.insert(parts.end(), {text, text, text.substr(0, text.size() / 2), text.substr(text.size() / 2)});
        }
    }
    return parts;
}

int compare(portable::Tokenizer &tokenizer, const llama_vocab *vocab, int rounds) {
    std::vector<std::string> parts = parts_of(vocab);
    std::mt19937 random(7);
    int different = 0;
    size_t special = 0;
    for (int round = 0; round < rounds; ++round) {
        size_t length = 4097 + random() % 1000;
        std::string text = round == 0 ? std::string(40000, 'x') : "";
        while (text.size() < length) {
            text += parts[random() % parts.size()];
        }
        for (int flags = 0; flags < 4; ++flags) {
            bool start = flags & 1, control = flags & 2;
            Tokens ours = tokenizer.tokenize(text, start, control);
            different += ours != by_engine(vocab, text, start, control);
        }
        special += tokenizer.special().places(text, portable::ALL_SPECIAL, tokenizer.stop()).size();
    }
    printf("%d different, %d special\n", different, static_cast<int>(special));
    return 0;
}

} // namespace

int main(int, char **arguments) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    llama_model_ptr model(llama_model_load_from_file(arguments[1], params));
    const llama_vocab *vocab = llama_model_get_vocab(model.get());
    std::atomic<bool> stop{false};
    portable::Tokenizer tokenizer(vocab, stop);
    if (std::strcmp(arguments[2], "compare") == 0) {
        return compare(tokenizer, vocab, std::atoi(arguments[3]));
    }
    std::string text;
    for (int copy = 0; copy < std::atoi(arguments[3]); ++copy) {
        text += arguments[4];
    }
    if (std::strcmp(arguments[2], "abort") == 0) {
        std::thread([&stop] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            stop = true;
        }).detach();
    }
    auto begin = std::chrono::steady_clock::now();
    try {
        printf("%zu tokens", tokenizer.tokenize(text, true, true).size());
    } catch (const portable::Aborted &) {
        printf("aborted");
    }
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    printf(" of %zu bytes, %.3f s\n", text.size(), took.count());
    fflush(stdout);
    _exit(0); // without waiting for what the engine still does
}
