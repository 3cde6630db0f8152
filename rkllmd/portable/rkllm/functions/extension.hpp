// What C's RKLLM does not have: a run's own seed, which parts of its text may be control tokens, what it may take from
// the cache, what that cache holds, who chooses among a run's tokens, how likely they were, and what the loaded model is
// like. Only the portable library exports these, so a caller looks for them by name.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// For the handle's next run only, and for all of its entries; entry i has the seed + i. `seed`: NULL for the library's own. `meant`: n_meant pairs of byte offsets [begin,
// end) into prompt_input or the multimodal prompt, in order, between which control markers become control tokens;
// elsewhere in the caller's text they are read as text. `flags`: those below, added. Returns 0 or -1.
int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *meant, size_t n_meant, int flags);

// For the handle's next run only: adds an entry. The run has those that were added and no others, in the order of its
// inputs; the rest of n_batch costs nothing. `sequence`, less than n_batch and not that of another entry: in which part
// of the cache it is read. The others: as for rkllm_portable_next_run. Returns 0 or -1.
int rkllm_portable_next_entry(void *handle, int sequence, const uint32_t *seed, const size_t *meant, size_t n_meant,
                              int flags);

enum {
    // No template stands around the text: it is read as it is.
    RKLLM_PORTABLE_BARE = 1,
    // The text is a conversation from its beginning: the tokens that the cache has in common with it stay, whatever run
    // has left them there, the others go, and only the rest is read. All of them stay if the text begins, marker for
    // marker, with the bare one that the run before was given and what it has answered.
    RKLLM_PORTABLE_REUSE = 2,
    // Control tokens that the model generates are shown, whatever skip_special_token says; not the one that ends the run.
    RKLLM_PORTABLE_SHOW_SPECIAL = 4,
    // Of a text that is counted: it is a part of one, with no template around it and no first token before it.
    RKLLM_PORTABLE_PART = 8,
    // Of one with the template around it: the answer may begin with thoughts.
    RKLLM_PORTABLE_THINKING = 16,
};

// How many tokens of this entry the last run did not need to read, as the cache had them. The callback of a run may ask
// too. Returns -1 after an error.
int rkllm_portable_reused_tokens(void *handle, int entry);

// How many tokens the prompt of a run with this text would have, from its beginning. `meant`, `n_meant`, `flags`: as for
// rkllm_portable_next_run; with RKLLM_PORTABLE_PART those of the text alone. Returns -1 after an error.
int rkllm_portable_count_tokens(void *handle, const char *text, const size_t *meant, size_t n_meant, int flags);

// All that the cache holds, as the bytes of a prompt cache's file. Written if `size` bytes are enough. Returns the length
// or -1.
int64_t rkllm_portable_take_state(void *handle, uint8_t *buffer, size_t size);
// Puts that back in the place of what is there. Returns 0, or -1 if it is damaged or of another model.
int rkllm_portable_put_state(void *handle, const uint8_t *bytes, size_t size);

// What the next token may be: sets bit i % 32 of allowed[i / 32] for each token i that is; `words` are all 0 before.
// `last` is the token that was chosen last, -1 at first; `likeliest` then the one that the model likes best, else -1.
// Returns 0; anything else fails the run.
typedef int (*rkllm_portable_guide)(void *userdata, int32_t last, int32_t likeliest, uint32_t *allowed, size_t words);

// For the handle's next run only, and after rkllm_portable_next_run or rkllm_portable_next_entry, of the entry that was
// added last: each token is one that `guide` allows; where it allows none, the entry ends. Returns 0 or -1.
int rkllm_portable_guide_next_run(void *handle, rkllm_portable_guide guide, void *userdata);

// For the handle's next run only, and after rkllm_portable_next_run or rkllm_portable_next_entry, of the entry that was
// added last: says with each token how likely it was, and which `top` tokens (0 to 20) were likeliest. Returns 0 or -1.
int rkllm_portable_logprobs_next_run(void *handle, int top);

// That of the token with which the result callback comes for this entry of the run: the token, then the likeliest ones,
// the likeliest first. Of each its number (int32), the natural logarithm of its probability (float), how many bytes it
// stands for (uint32, all in this machine's order), and these. The probabilities are the model's own, before penalties,
// temperature and all that cuts tokens off. Written if `size` bytes are enough. Returns the length, 0 where nothing was
// asked for or no token comes, or -1. Only the callback of the run may ask.
int64_t rkllm_portable_logprobs(void *handle, int entry, uint8_t *buffer, size_t size);

// The vocabulary: how many tokens it has (uint32, this machine's order), the number of each one's bytes (likewise), for
// each a byte that says what it is (0: text, 1: it ends the answer, 2: neither), and all their bytes. Those of a token that
// is no text are 0xFF, which no text has, and its number. Written if `size` bytes are enough. Returns the length or -1.
int64_t rkllm_portable_vocabulary(void *handle, uint8_t *buffer, size_t size);

// Writes a JSON object about the loaded model and a closing zero, if `size` bytes are enough. Returns its length or -1.
// Its bos_token and eos_token are the bytes of what begins and ends a text, in hexadecimal digits.
int rkllm_portable_describe(void *handle, char *json, size_t size);

// What the engine was compiled for: the names of instruction sets, as llama.cpp says them.
const char *rkllm_portable_engine();
}
#pragma GCC visibility pop
