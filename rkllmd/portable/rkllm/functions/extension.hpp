// What C's RKLLM does not have: a run's own seed, which parts of its text may be control tokens, what it may take from
// the cache, that cache in a file, and what the loaded model is like. Only the portable library exports these, so a caller looks for them by name.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// For the handle's next run only. `seed`: NULL for the library's own. `meant`: n_meant pairs of byte offsets [begin,
// end) into prompt_input or the multimodal prompt, in order, between which control markers become control tokens;
// elsewhere in the caller's text they are read as text. `flags`: those below, added. Returns 0 or -1.
int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *meant, size_t n_meant, int flags);

enum {
    // No template stands around the text: it is read as it is.
    RKLLM_PORTABLE_BARE = 1,
    // The text is a conversation from its beginning: the tokens that the cache has in common with it stay, whatever run
    // has left them there, the others go, and only the rest is read.
    RKLLM_PORTABLE_REUSE = 2,
    // Control tokens that the model generates are shown, whatever skip_special_token says; not the one that ends the run.
    RKLLM_PORTABLE_SHOW_SPECIAL = 4,
};

// How many tokens the last run did not need to read, as the cache had them. Returns -1 after an error.
int rkllm_portable_reused_tokens(void *handle);

// Writes all that the cache holds to a file, and puts it back in the place of what is there. Both return 0 or -1.
int rkllm_portable_save(void *handle, const char *path);
int rkllm_portable_restore(void *handle, const char *path);

// Writes a JSON object about the loaded model and a closing zero, if `size` bytes are enough. Returns its length or -1.
int rkllm_portable_describe(void *handle, char *json, size_t size);

// What the engine was compiled for: the names of instruction sets, as llama.cpp says them.
const char *rkllm_portable_engine();
}
#pragma GCC visibility pop
