/* What the files of RKLLM's simulator share; common.h has what they share with RKNN's. README.md beside this file says
 * what the simulator does and lists its keys.
 *
 *   rkllm.c     exported functions, each between call_enter and call_leave: init, destroy, run, abort
 *   settings.c  the other exported functions, which change or show a loaded model
 *   call.c      what every call has in common: trace, overlap, handle, delay, fault, forced return value
 *   keys.c      what a scenario may say
 *   model.c     the table of live handles, and the memory that a caller promised to leave alone
 *   input.c     RKLLMInput -> the echo that proves which bytes reached C
 *   output.c    text -> tokens, split and joined as the vendor does
 *   run.c       one run: reading the inputs, the ending, the threads
 *   generate.c  its callbacks: prefill, tokens, rows, pace, pause, abort
 */
#ifndef SIMULATOR_H
#define SIMULATOR_H

#include "common.h"

#pragma GCC visibility push(default)
#include "rkllm.h"

long simulator_calls(void);         /* C calls entered since the library was loaded */
long simulator_overlaps(void);      /* NPU calls that were entered while another was inside */
long simulator_freed_buffers(void); /* callbacks that returned 2 */
#pragma GCC visibility pop

enum { MAX_BATCH = 256 }; /* n_batch is a uint8_t */

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
#if RKLLM_LAYOUT >= 130
    RKLLMCallback callbacks;
#endif
    char *param_strings[4]; /* copies of the strings in param, or */
    Promises init_strings;  /* the caller's own, which must stay: init_strings_stay */

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
