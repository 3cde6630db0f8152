/* The functions of RKLLM and what its scenarios hold; only common.h includes this. */
#ifndef RKLLM_DIALECT_H
#define RKLLM_DIALECT_H

#define SCENARIO_VARIABLE "RKLLM_SIMULATOR"
#define HAS_OWN_FAULT_KEY(function) ((function) == FN_init)
#define RETURNS_NO_STATUS(function) ((function) == FN_createDefaultParam)

/* ---- functions ---------------------------------------------------------------------------------------------- */

/* name, whether it needs the NPU (at most one of those may be inside at a time), whether it changes its handle (and is
 * refused while a run or another such call is inside the same handle) */
#define FOR_EACH_FUNCTION(X)      \
    X(createDefaultParam, 0, 0)   \
    X(init, 1, 0)                 \
    X(destroy, 1, 0)              \
    X(run, 1, 1)                  \
    X(run_async, 1, 1)            \
    X(load_lora, 1, 1)            \
    X(load_prompt_cache, 1, 1)    \
    X(release_prompt_cache, 0, 1) \
    X(abort, 0, 0)                \
    X(is_running, 0, 0)           \
    X(clear_kv_cache, 0, 1)       \
    X(get_kv_cache_size, 0, 0)    \
    X(set_chat_template, 0, 1)    \
    X(set_function_tools, 0, 1)   \
    X(set_cross_attn_params, 0, 1)

typedef enum {
#define X(name, npu, changes) FN_##name,
    FOR_EACH_FUNCTION(X)
#undef X
    FUNCTION_COUNT
} Function;

/* ---- scenario ----------------------------------------------------------------------------------------------- */

enum { UTF8_WAITING, UTF8_RAW };
enum { TEXT_NULL, TEXT_EMPTY };
enum { THREAD_CALLER, THREAD_OWN };

typedef struct {
    COMMON_FIELDS

    char *text;
    int64_t tokens; /* bytes per token; 0: words */
    int64_t repeat, batch_step, stamp, utf8, waiting_text, finish_text, null_text_at, empty_text_at;
    int64_t pace_us, prefill_ms, prefill_token_us, prefill_abort, prefill_hold, finish_hold, abort_lag, finish_after_abort, finish_after_pause;
    int64_t thread, perf_zero, is_running_inverted;
    int64_t embd, vocab, rows, embed_each_token;
    int64_t echo_params, echo_hash;
    int64_t kv_ranges_need_pause, context_limit, context_step, prompt_limit, template_tokens, uncounted_tokens;
    int64_t tool_json, placeholder_overrun, init_strings_stay;
    int64_t trace_callbacks, trace_inputs, print_at;
    int64_t run_nth, error_status;
    Fault run;
} Scenario;

#endif
