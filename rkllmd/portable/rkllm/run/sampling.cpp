#include "sampling.hpp"

#include "log.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

namespace portable {
namespace {

constexpr uint32_t FIXED_SEED = 1234;
// How far back the penalties look, as in llama.cpp's own tools; RKLLM has no parameter for it.
constexpr int PENALTY_WINDOW = 64;
// Mirostat 1 estimates from this many tokens, the value of its paper.
constexpr int MIROSTAT_TOKENS = 100;

void require(bool good, const char *what) {
    if (!good) {
        throw Failure(what);
    }
}

} // namespace

RKLLMSamplingParam sampling_of(const RKLLMParam &param) {
    return {param.top_k,
            param.top_p,
            param.temperature,
            param.repeat_penalty,
            param.frequency_penalty,
            param.presence_penalty,
            param.mirostat,
            param.mirostat_tau,
            param.mirostat_eta};
}

void check_sampling(const RKLLMSamplingParam &param) {
    require(param.top_p >= 0 && param.top_p <= 1, "top_p must be between 0 and 1");
    require(std::isfinite(param.temperature) && param.temperature >= 0, "temperature must be 0 or more");
    require(std::isfinite(param.repeat_penalty) && param.repeat_penalty > 0, "repeat_penalty must be more than 0");
    require(std::isfinite(param.frequency_penalty), "frequency_penalty must be a finite number");
    require(std::isfinite(param.presence_penalty), "presence_penalty must be a finite number");
    require(param.mirostat >= 0 && param.mirostat <= 2, "mirostat must be 0, 1 or 2");
    require(param.mirostat == 0 || (std::isfinite(param.mirostat_tau) && param.mirostat_tau > 0),
            "mirostat_tau must be more than 0");
    require(param.mirostat == 0 || (std::isfinite(param.mirostat_eta) && param.mirostat_eta > 0),
            "mirostat_eta must be more than 0");
}

uint32_t sampling_seed() {
    const char *text = getenv("RKLLM_PORTABLE_SEED");
    if (!text || !*text) {
        return FIXED_SEED;
    }
    return strcmp(text, "random") == 0 ? std::random_device{}() : static_cast<uint32_t>(strtoul(text, nullptr, 10));
}

llama_token sample_allowed(llama_sampler *sampler, const float *logits, int vocabulary,
                           const std::vector<uint32_t> &allowed) {
    std::vector<llama_token_data> candidates;
    for (llama_token token = 0; token < vocabulary; ++token) {
        auto index = static_cast<size_t>(token);
        if ((allowed[index / 32] >> (index % 32) & 1) != 0) {
            candidates.push_back({token, logits[token], 0});
        }
    }
    if (candidates.empty()) {
        return LLAMA_TOKEN_NULL;
    }
    llama_token_data_array choice{candidates.data(), candidates.size(), -1, false};
    llama_sampler_apply(sampler, &choice);
    if (choice.selected < 0) {
        throw Failure("the engine has chosen no token");
    }
    llama_token chosen = choice.data[choice.selected].id;
    llama_sampler_accept(sampler, chosen);
    return chosen;
}

llama_sampler_ptr make_sampler(const RKLLMSamplingParam &param, int vocabulary, uint32_t seed) {
    if (seed == LLAMA_DEFAULT_SEED) {
        seed = FIXED_SEED; // the engine takes this value for "random"
    }
    llama_sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    auto add = [&](llama_sampler *sampler) { llama_sampler_chain_add(chain.get(), sampler); };
    if (param.repeat_penalty != 1 || param.frequency_penalty != 0 || param.presence_penalty != 0) {
        add(llama_sampler_init_penalties(vocabulary, PENALTY_WINDOW, param.repeat_penalty, param.frequency_penalty,
                                         param.presence_penalty));
    }
    if (param.top_k == 1 || param.temperature <= 0) {
        add(llama_sampler_init_greedy());
        return chain;
    }
    if (param.mirostat != 0) {
        add(llama_sampler_init_temp(param.temperature));
        add(param.mirostat == 1
                ? llama_sampler_init_mirostat(vocabulary, seed, param.mirostat_tau, param.mirostat_eta, MIROSTAT_TOKENS)
                : llama_sampler_init_mirostat_v2(seed, param.mirostat_tau, param.mirostat_eta));
        return chain;
    }
    add(llama_sampler_init_top_k(param.top_k));
    add(llama_sampler_init_top_p(param.top_p, 1));
    add(llama_sampler_init_temp(param.temperature));
    add(llama_sampler_init_dist(seed));
    return chain;
}

} // namespace portable
