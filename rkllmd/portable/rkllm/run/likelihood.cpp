#include "likelihood.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace portable {
namespace {

// Of equal ones, the one with the smaller number comes first.
std::vector<llama_token> likeliest(const float *logits, int count, int top) {
    std::vector<llama_token> found;
    auto is_likelier = [logits](llama_token a, llama_token b) { return logits[a] > logits[b]; };
    for (llama_token token = 0; token < count && top > 0; ++token) {
        bool is_full = found.size() == static_cast<size_t>(top);
        if (is_full && !is_likelier(token, found.back())) {
            continue; // as nearly all
        }
        if (is_full) {
            found.pop_back();
        }
        found.insert(std::upper_bound(found.begin(), found.end(), token, is_likelier), token);
    }
    return found;
}

void append(std::string &all, const void *value, size_t size) {
    all.append(static_cast<const char *>(value), size);
}

} // namespace

std::string logprobs_of(const Vocabulary &vocabulary, const float *logits, int count, llama_token token, int top) {
    float most = *std::max_element(logits, logits + count);
    double sum = 0;
    for (int i = 0; i < count; ++i) {
        sum += std::exp(static_cast<double>(logits[i] - most));
    }
    double scale = static_cast<double>(most) + std::log(sum);
    std::vector<llama_token> tokens = likeliest(logits, count, top);
    tokens.insert(tokens.begin(), token);
    std::string all;
    for (llama_token each : tokens) {
        std::string piece = vocabulary.piece(each, true);
        auto logprob = static_cast<float>(static_cast<double>(logits[each]) - scale);
        auto length = static_cast<uint32_t>(piece.size());
        append(all, &each, sizeof each);
        append(all, &logprob, sizeof logprob);
        append(all, &length, sizeof length);
        all += piece;
    }
    return all;
}

} // namespace portable
