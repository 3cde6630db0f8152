// Choosing the next token.
#pragma once

#include "abi.hpp"
#include "llama-cpp.h"

#include <cstdint>

namespace portable {

// The sampling parameters that a run uses: its own, or those given to rkllm_init.
RKLLMSamplingParam sampling_of(const RKLLMParam &param);

// Throws a Failure for values that mean nothing (or that the engine would divide by).
void check_sampling(const RKLLMSamplingParam &param);

// Fixed, so that a run can be repeated, unless RKLLM_PORTABLE_SEED says otherwise ("random" or a number).
uint32_t sampling_seed();

llama_sampler_ptr make_sampler(const RKLLMSamplingParam &param, int vocabulary, uint32_t seed);

} // namespace portable
