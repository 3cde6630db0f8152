// What C's RKLLM does not have: a run's own seed, which parts of its text may be control tokens, and what the loaded
// model is like. Only the portable library exports these, so a caller looks for them by name.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// For the handle's next run only. `seed`: NULL for the library's own. `meant`: n_meant pairs of byte offsets [begin,
// end) into prompt_input or the multimodal prompt, in order, between which control markers become control tokens;
// elsewhere in the caller's text they are read as text. Returns 0 or -1.
int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *meant, size_t n_meant);

// Writes a JSON object about the loaded model and a closing zero, if `size` bytes are enough. Returns its length or -1.
int rkllm_portable_describe(void *handle, char *json, size_t size);

// What the engine was compiled for: the names of instruction sets, as llama.cpp says them.
const char *rkllm_portable_engine();
}
#pragma GCC visibility pop
