/* What a scenario of RKLLM may say. */
#include "keys.h"

#include <limits.h>

const Key keys[] = {
    COMMON_KEYS,
    STRING("text", text),
    {"tokens", KIND_TOKENS, offsetof(Scenario, tokens), 2, 0, 0, 0},
    NUMBER(repeat, 1, 1, INT64_MAX),
    NUMBER(batch_step, 1, 0, INT64_MAX),
    SWITCH(stamp, 0),
    WORD(utf8, "waiting|raw"),
    WORD(waiting_text, "null|empty"),
    WORD(finish_text, "null|empty"),
    NUMBER(null_text_at, AT_NEVER, 0, INT64_MAX),
    NUMBER(empty_text_at, AT_NEVER, 0, INT64_MAX),
    NUMBER(pace_us, 0, 0, INT_MAX),
    NUMBER(prefill_ms, 0, 0, INT_MAX),
    SWITCH(prefill_abort, 0),
    SWITCH(prefill_hold, 0),
    SWITCH(finish_hold, 0),
    NUMBER(abort_lag, 0, 0, INT64_MAX),
    SWITCH(finish_after_abort, 1),
    SWITCH(finish_after_pause, 0),
    WORD(thread, "caller|own"),
    SWITCH(perf_zero, 0),
    SWITCH(is_running_inverted, 0),
    NUMBER(embd, 8, 1, INT_MAX),
    NUMBER(vocab, 8, 1, INT_MAX),
    NUMBER(rows, 0, 0, INT_MAX),
    SWITCH(embed_each_token, 0),
    SWITCH(echo_params, 0),
    SWITCH(echo_hash, 0),
    SWITCH(kv_ranges_need_pause, 0),
    NUMBER(context_limit, 0, 0, INT_MAX),
    NUMBER(trace_callbacks, 0, 0, 2),
    {"print_at", KIND_PRINT_AT, offsetof(Scenario, print_at), 0, 0, 0, 0},
    NUMBER(run_nth, 0, 0, INT64_MAX),
    NUMBER(error_status, -1, INT_MIN, INT_MAX),
    {"run", KIND_FAULT, offsetof(Scenario, run), 0, 0, 0, GENERAL_FAULTS "|error"},
    FAULT("init", init, GENERAL_FAULTS "||null_handle|fail_takes_first_down"),
};
const size_t key_count = sizeof keys / sizeof keys[0];
