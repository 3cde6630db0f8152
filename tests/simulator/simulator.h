/* What the files of the simulator share. README.md beside this file says what the simulator does and lists its keys.
 *
 *   rkllm.c     exported functions, each between call_enter and call_leave: init, destroy, run, abort
 *   settings.c  the other exported functions, which change or show a loaded model
 *   call.c      what every call has in common: trace, overlap, handle, delay, fault, forced return value
 *   scenario.c  the text in RKLLM_SIMULATOR -> Scenario
 *   model.c     the table of live handles, and the memory that a caller promised to leave alone
 *   input.c     RKLLMInput -> the echo that proves which bytes reached C
 *   output.c    text -> tokens, split and joined as the vendor does
 *   run.c       one run: reading the inputs, the ending, the threads
 *   generate.c  its callbacks: prefill, tokens, rows, pace, pause, abort
 *   report.c    stderr, the trace file, the clock
 */
#ifndef SIMULATOR_H
#define SIMULATOR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* gettid's number, process_vm_readv, pthread_condattr_setclock */
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything else is compiled with -fvisibility=hidden: the library exports what the vendor's does, and no more. */
#pragma GCC visibility push(default)
#include "rkllm.h"

long simulator_calls(void);         /* C calls entered since the library was loaded */
long simulator_overlaps(void);      /* NPU calls that were entered while another was inside */
long simulator_freed_buffers(void); /* callbacks that returned 2 */
long simulator_complaints(void);    /* lines that began with "SIMULATOR:" on stderr: misuse of the interface */
#pragma GCC visibility pop

enum { MAX_BATCH = 256 }; /* n_batch is a uint8_t */

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

extern const char *const function_names[FUNCTION_COUNT];

/* ---- scenario ----------------------------------------------------------------------------------------------- */

typedef enum {
    ACTION_NONE,
    ACTION_FAIL,
    ACTION_HANG,
    ACTION_SEGFAULT,
    ACTION_ABORT,
    ACTION_EXIT,
    ACTION_ERROR,            /* runs only: RKLLM_RUN_ERROR */
    ACTION_NULL_HANDLE,      /* init only: 0 and a NULL handle */
    ACTION_TAKES_FIRST_DOWN, /* init only: fails, and every earlier handle is dead from then on */
} Action;

enum { AT_EVERY = -1, AT_NEVER = -2 };

typedef struct {
    int64_t action; /* Action */
    int64_t at;     /* n-th call from 1, or token from 0; AT_EVERY */
} Fault;

enum { UTF8_WAITING, UTF8_RAW };
enum { TEXT_NULL, TEXT_EMPTY };
enum { THREAD_CALLER, THREAD_OWN };
enum { LOG_STDERR, LOG_STDOUT, LOG_NONE };

/* Every number is an int64_t and every string a char *, so that one table of offsets describes them all. */
typedef struct {
    atomic_int references;
    char *source; /* the text it was parsed from */

    char *text;
    int64_t tokens; /* bytes per token; 0: words */
    int64_t repeat, batch_step, stamp, utf8, waiting_text, finish_text, null_text_at, empty_text_at;
    int64_t pace_us, prefill_ms, prefill_abort, abort_lag, finish_after_abort, finish_after_pause;
    int64_t thread, perf_zero, is_running_inverted;
    int64_t embd, vocab, rows, embed_each_token;
    int64_t echo_params, echo_hash;
    int64_t kv_ranges_need_pause, context_limit;
    int64_t log, trace_callbacks;
    char *print_stdout, *print_stderr;
    int64_t print_at, print_function, print_repeat, print_newline;
    int64_t run_nth, error_status;
    char *fault_ticket;
    Fault run;
    Fault fault[FUNCTION_COUNT];
    int64_t delay_ms[FUNCTION_COUNT];
    int64_t forced[FUNCTION_COUNT], forced_status[FUNCTION_COUNT];
} Scenario;

/* Returns the scenario in force, or NULL when its text has a mistake (said on stderr). fresh: read the environment
 * again, as every rkllm_init does. A scenario in a file is read again by every call. */
Scenario *scenario_acquire(bool fresh);
Scenario *scenario_share(Scenario *scenario);
void scenario_release(Scenario *scenario);

/* ---- strings that grow -------------------------------------------------------------------------------------- */

typedef struct {
    char *bytes; /* always ends in NUL once something was added */
    size_t length, room;
} Text;

void text_add(Text *text, const void *bytes, size_t length);
void text_print(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *allocate(size_t count, size_t size); /* zeroed; ends the process when there is no memory */
char *copy_string(const char *string);     /* NULL stays NULL */

/* ---- report ------------------------------------------------------------------------------------------------- */

int64_t now_ns(void);
void sleep_until(int64_t deadline_ns);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vendor_log(const Scenario *scenario, const char *format, ...) __attribute__((format(printf, 2, 3)));
void write_all(int fd, const char *bytes, size_t length);
void trace_open(void);
void trace(const char *event, const char *name, long long value);

/* ---- memory that a caller promised to leave alone ----------------------------------------------------------- */

typedef struct {
    const char *name;
    const void *where;
    size_t size;
    uint64_t hash;
} Promise;

typedef struct {
    Promise *items;
    size_t count;
} Promises;

uint64_t hash_bytes(const void *bytes, size_t size);
void promise_bytes(Promises *promises, const char *name, const void *where, size_t size);
void promise_string(Promises *promises, const char *name, const char *string);
bool promises_kept(const Promises *promises); /* false, after a complaint, when one was broken */
void promises_forget(Promises *promises);

/* ---- output ------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *text; /* NULL while a character is not whole */
    LLMCallState state;
} Token;

/* What one batch entry generates: the tokens of one round, played `total` tokens long. */
typedef struct {
    char *bytes;
    Token *tokens;
    int64_t count, total, next;
} Output;

void output_cut(Output *output, const Scenario *scenario, const char *text);
void output_free(Output *output);

/* ---- models ------------------------------------------------------------------------------------------------- */

typedef struct Lora {
    struct Lora *next;
    char *name;
} Lora;

enum { MODEL_IDLE, MODEL_CHANGING, MODEL_RUNNING };

typedef struct Model {
    struct Model *next;
    LLMHandle handle; /* a number that is never used twice and is no address: a stale one can't pass for a new one */
    int references;   /* under the table's lock */

    RKLLMParam param;
    int n_batch;
    LLMResultCallback result_callback;
    void *result_userdata;
#if RKLLM_LAYOUT >= 13
    RKLLMCallback callbacks;
#endif
    Promises init_strings; /* the vendor reads them after init: freeing model_path crashes it */

    atomic_bool stopping, dead, broken;
    atomic_int kv[MAX_BATCH];
    pthread_mutex_t lock; /* for `wake`, and for the start of `thread` */
    pthread_cond_t wake;  /* an abort, for prefill_abort */

    atomic_int state; /* who takes it from MODEL_IDLE owns what follows; no lock, since callbacks may wait for calls */
    pthread_t thread; /* the last rkllm_run_async */
    atomic_bool has_thread;
    char *system_prompt, *prompt_prefix, *prompt_postfix, *tools, *tool_tag, *prompt_cache, *cross_text;
    bool has_template;
    Promises cross_arrays;
    Lora *loras;
    Output *paused; /* n_batch outputs that a pause left, or NULL */
    float *rows;    /* hidden states or logits of the last run */
} Model;

Model *model_create(void);
Model *model_acquire(LLMHandle handle); /* NULL, after a complaint, when it is not alive */
void model_share(Model *model);
void model_release(Model *model);
bool model_retire(Model *model); /* takes the handle out of the table; false when it was out */
int models_alive(void);
void models_break(void); /* every live one: its runs fail from now on */
void model_forget_pause(Model *model);

/* ---- calls -------------------------------------------------------------------------------------------------- */

typedef struct {
    Function function;
    Scenario *scenario;
    Model *model;
    Action action; /* a fault that the function itself acts out */
    long nth;      /* of this function, from 1 */
    bool holds_npu, holds_model;
    int status;
} Call;

/* False: return call_leave at once. */
bool call_enter(Call *call, Function function, LLMHandle handle);
int call_leave(Call *call);
void npu_leave(void);
bool fault_is_due(const Scenario *scenario, const Fault *fault, int64_t position);
void act(Action action); /* returns unless the action ends or hangs the process */
void print_lines(const Scenario *scenario);

/* ---- runs --------------------------------------------------------------------------------------------------- */

typedef enum { END_FINISHED, END_ABORTED, END_PAUSED, END_ERROR, END_FAILED } Ending;

typedef struct Run {
    Model *model;
    Scenario *scenario;
    void *userdata;
    bool async;
    bool faulty; /* run= applies to this run */
    bool resumed, keep_history;
    RKLLMInferMode mode;
    int64_t max_new_tokens;
    int32_t input_tokens[MAX_BATCH]; /* per batch entry */
    int32_t cached_tokens;           /* of entry 0, found in the prompt cache */
    Output *outputs;
    RKLLMResult *results;
    Promises inputs;
    int64_t generated;
    /* only for the time of the call: */
    RKLLMInput *input;
    RKLLMInferParam *infer;
} Run;

Ending run_to_the_end(Run *run); /* all but the last callback */
int run_callback(Run *run, LLMCallState state);
void run_blank_results(Run *run, const char *text);
int run_call(Call *call, RKLLMInput *input, RKLLMInferParam *infer, void *userdata, bool async);

/* Reads one batch entry: adds what it says to echo, its memory to run->inputs, and returns its count of tokens, or -1
 * after a complaint. */
int32_t input_read(Run *run, const RKLLMInput *input, Text *echo);
/* The prompt's text, or NULL for inputs without one. */
const char *input_prompt(const RKLLMInput *input);
/* Layout 13: asks the embedding callback for n rows; false when it fails. */
bool embed_tokens(Run *run, int32_t *ids, int32_t n, double *sum);
/* Waits until the thread of the last rkllm_run_async is gone. */
void join_last_run(Model *model);

#endif
