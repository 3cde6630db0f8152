// The file of a prompt cache: tokens and the engine's state for them, guarded against other models and damage, since
// the engine aborts the process over a state that it cannot make sense of.
#pragma once

#include "model.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace portable {

struct PromptCache {
    std::vector<llama_token> tokens;
    std::vector<uint8_t> state;
};

void write_prompt_cache(const std::string &path, const Model &model, const PromptCache &cache);
PromptCache read_prompt_cache(const std::string &path, const Model &model);

} // namespace portable
