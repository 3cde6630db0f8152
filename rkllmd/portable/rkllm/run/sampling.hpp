// Choosing the next token.
#pragma once

#include "abi.hpp"
#include "llama-cpp.h"

#include <cstdint>
#include <vector>

namespace portable {

// The sampling parameters that a run uses: its own, or those given to rkllm_init.
RKLLMSamplingParam sampling_of(const RKLLMParam &param);

// Throws a Failure for values that mean nothing (or that the engine would divide by).
void check_sampling(const RKLLMSamplingParam &param);

// Fixed, so that a run can be repeated, unless RKLLM_PORTABLE_SEED says otherwise ("random" or a number).
uint32_t sampling_seed();

// Chooses among the tokens that are allowed, a bit each; NO_TOKEN if none is.
llama_token sample_allowed(llama_sampler *sampler, const float *logits, int vocabulary,
                           const std::vector<uint32_t> &allowed);

llama_sampler_ptr make_sampler(const RKLLMSamplingParam &param, int vocabulary, uint32_t seed);

} // namespace portable
