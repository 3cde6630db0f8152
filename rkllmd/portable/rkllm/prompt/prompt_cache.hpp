// A prompt cache: tokens and the engine's state for them, as one piece of bytes in memory or in a file. It is guarded
// against other models and damage, since the engine aborts the process over a state that it cannot make sense of.
#pragma once

#include "model.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace portable {

struct PromptCache {
    std::vector<llama_token> tokens;
    const uint8_t *state; // into the bytes that it was read from
    size_t state_size;
};

size_t prompt_cache_size(size_t token_count, size_t state_size);
// Lays out a cache in `bytes`, which have that size; `write_state` is given the place of the state.
void lay_out_prompt_cache(uint8_t *bytes, const Model &model, const std::vector<llama_token> &tokens,
                          size_t state_size, const std::function<void(uint8_t *)> &write_state);
// Throws a Failure that begins with `what` for bytes that are no whole cache of this model.
PromptCache parse_prompt_cache(const uint8_t *bytes, size_t size, const Model &model, const std::string &what);

void write_prompt_cache(const std::string &path, const std::vector<uint8_t> &bytes);
// The bytes of a file that says of itself that it is a cache of this model; they are still to be parsed.
std::vector<uint8_t> read_prompt_cache(const std::string &path, const Model &model, const std::string &what);

} // namespace portable
