// How likely a token was, and which others were.
#pragma once

#include "vocabulary.hpp"

#include <string>

namespace portable {

// The token and then the `top` likeliest, the likeliest first, as rkllm_portable_logprobs shows them.
std::string logprobs_of(const Vocabulary &vocabulary, const float *logits, int count, llama_token token, int top);

} // namespace portable
