/* One run, from rkllm_run or rkllm_run_async: what comes before its callbacks and what ends it. */
#include "simulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_long runs;

/* ---- prepare: false means that the run returns an error without a callback ---------------------------------- */

static bool knows_lora(const Model *model, const RKLLMLoraParam *wanted)
{
    if (!wanted || !wanted->lora_adapter_name)
        return true;
    for (const Lora *lora = model->loras; lora; lora = lora->next)
        if (strcmp(lora->name, wanted->lora_adapter_name) == 0)
            return true;
    return false;
}

static int64_t limit_of(const Model *model, const RKLLMInferParam *infer)
{
#if RKLLM_LAYOUT >= 130
    if (infer->max_new_tokens > 0)
        return infer->max_new_tokens;
#endif
    (void)infer;
    return model->param.max_new_tokens;
}

static bool save_prompt_cache(Run *run)
{
    const RKLLMPromptCacheParam *cache = run->infer->prompt_cache_params;
    const char *prompt = input_prompt(run->input);
    if (!cache || !cache->save_prompt_cache)
        return true;
    FILE *file = cache->prompt_cache_path ? fopen(cache->prompt_cache_path, "we") : NULL;
    bool saved = file && fputs(prompt ? prompt : "", file) >= 0;
    saved = file && fclose(file) == 0 && saved;
    if (!saved)
        vendor_log(run->scenario, "E rkllm: failed to save the prompt cache");
    return saved;
}

static int32_t common_prefix(const char *cache, const char *prompt)
{
    int32_t common = 0;
    while (cache && prompt && cache[common] && cache[common] == prompt[common])
        common++;
    return common;
}

static void count_kv(Run *run, int entry)
{
    atomic_int *kv = &run->model->kv[entry];
    const char *system_prompt = run->model->system_prompt;
    if (!run->resumed && (!run->keep_history || *kv == 0))
        *kv = system_prompt ? (int)strlen(system_prompt) : 0;
    *kv += run->input_tokens[entry];
}

/* The first number in the prompt: by it a test knows its runs. */
static void trace_input(const char *prompt)
{
    trace("input", "prompt", strtoll(prompt + strcspn(prompt, "0123456789"), NULL, 10));
}

static bool prepare_entry(Run *run, int entry)
{
    const Scenario *scenario = run->scenario;
    Output *output = &run->outputs[entry];
    Text echo = {0};
    int32_t n = input_read(run, &run->input[entry], &echo);
    if (scenario->trace_inputs && input_prompt(&run->input[entry]))
        trace_input(input_prompt(&run->input[entry]));
    if (scenario->prompt_limit && n > run->model->param.max_context_len)
        n = -1; /* without a word: so it was seen on a board */
    run->input_tokens[entry] = n;
    if (n >= 0 && !run->resumed) {
        output_cut(output, scenario, scenario->text ? scenario->text : echo.bytes);
        if (scenario->text) { /* one text for all entries: made to end at different times */
            int64_t shorter = output->total - entry * scenario->batch_step;
            output->total = output->total > 0 && shorter < 1 ? 1 : shorter;
        }
    }
    free(echo.bytes);
    if (n >= 0)
        count_kv(run, entry);
    return n >= 0;
}

static bool check(Run *run)
{
    Model *model = run->model;
    if (!run->input || !run->infer) {
        complain("a run without %s", run->input ? "rkllm_infer_params" : "rkllm_input");
        return false;
    }
    if ((unsigned)run->infer->mode > RKLLM_INFER_GET_LOGITS) {
        complain("mode %d", (int)run->infer->mode);
        return false;
    }
    if (!knows_lora(model, run->infer->lora_params)) {
        vendor_log(run->scenario, "E rkllm: lora adapter %s is not loaded", run->infer->lora_params->lora_adapter_name);
        return false;
    }
    bool init_strings = promises_kept(&model->init_strings), cross_arrays = promises_kept(&model->cross_arrays);
    return init_strings && cross_arrays;
}

/* A pause that is resumed goes on with its own text; the new input only adds to the KV cache. */
static bool prepare(Run *run)
{
    Model *model = run->model;
    if (!check(run))
        return false;
    const RKLLMInferParam *infer = run->infer;
    run->mode = infer->mode;
    run->keep_history = infer->keep_history != 0;
    run->max_new_tokens = limit_of(model, infer);
    run->results = allocate((size_t)model->n_batch, sizeof *run->results);
    if (infer->lora_params)
        promise_string(&run->inputs, "lora_adapter_name", infer->lora_params->lora_adapter_name);
    if (infer->prompt_cache_params)
        promise_string(&run->inputs, "prompt_cache_path", infer->prompt_cache_params->prompt_cache_path);

    run->resumed = model->paused && run->mode == RKLLM_INFER_GENERATE;
    run->outputs = run->resumed ? model->paused : allocate((size_t)model->n_batch, sizeof *run->outputs);
    if (run->resumed)
        model->paused = NULL;
    for (int entry = 0; entry < model->n_batch; entry++)
        if (!prepare_entry(run, entry))
            return false;
    int32_t common = common_prefix(model->prompt_cache, input_prompt(run->input));
    run->cached_tokens = common < run->input_tokens[0] ? common : run->input_tokens[0];
    return save_prompt_cache(run);
}

/* ---- ending ------------------------------------------------------------------------------------------------- */

static void run_free(Run *run)
{
    for (int entry = 0; run->outputs && entry < run->model->n_batch; entry++)
        output_free(&run->outputs[entry]);
    free(run->outputs);
    free(run->results);
    promises_forget(&run->inputs);
    scenario_release(run->scenario);
    model_release(run->model);
    free(run);
}

/* The pause belongs to single-turn mode: with keep_history the run just ends. */
static void keep_pause(Run *run)
{
    if (run->keep_history) {
        complain("a pause with keep_history");
        return;
    }
    model_forget_pause(run->model);
    run->model->paused = run->outputs;
    run->outputs = NULL;
}

static void last_callback(Run *run, Ending ending)
{
    const Scenario *scenario = run->scenario;
    if (ending == END_FAILED || (ending == END_ABORTED && !scenario->finish_after_abort) ||
        (ending == END_PAUSED && !scenario->finish_after_pause))
        return;
    run_blank_results(run, ending != END_ERROR && scenario->finish_text == TEXT_EMPTY ? "" : NULL);
    bool measures = ending != END_ERROR && !scenario->perf_zero;
    int64_t counted = run->generated > scenario->uncounted_tokens ? run->generated - scenario->uncounted_tokens : 0;
    for (int entry = 0; measures && entry < run->model->n_batch; entry++)
        run->results[entry].perf = (RKLLMPerfStat){10.0f, run->input_tokens[entry] - (entry ? 0 : run->cached_tokens),
                                                   20.0f, (int)counted, 12.5f};
    run_callback(run, ending == END_ERROR ? RKLLM_RUN_ERROR : RKLLM_RUN_FINISH);
}

static int conclude(Run *run, Ending ending)
{
    Model *model = run->model;
    if (!promises_kept(&run->inputs))
        ending = END_ERROR;
    if (ending == END_PAUSED && run->mode == RKLLM_INFER_GENERATE)
        keep_pause(run);
    int status = ending == END_ERROR || ending == END_FAILED ? (int)run->scenario->error_status : 0;
    /* Before the last callback, because whoever gets that one may start the next run at once; the NPU first, because
     * whoever sees that nothing is running may do so too. */
    if (run->async) {
        trace("finished", function_names[FN_run_async], status);
        npu_leave();
    }
    model->state = MODEL_IDLE;
    last_callback(run, ending);
    if (run->scenario->finish_hold)
        hold();
    return status;
}

static int execute(Run *run)
{
    if (!run->model->broken)
        return conclude(run, run_to_the_end(run));
    vendor_log(run->scenario, "E RKNN: [00:00:00.000] failed to submit!, op id: 0, ret: -1, errno: 14");
    return conclude(run, END_ERROR);
}

static int give_up(Run *run)
{
    run->model->state = MODEL_IDLE;
    return -1;
}

/* ---- threads ------------------------------------------------------------------------------------------------ */

static void *run_in_own_thread(void *argument)
{
    Run *run = argument;
    return (void *)(intptr_t)(prepare(run) ? execute(run) : give_up(run));
}

static void *run_async_thread(void *argument)
{
    Run *run = argument;
    pthread_mutex_lock(&run->model->lock); /* until start_async has written down which thread this is */
    pthread_mutex_unlock(&run->model->lock);
    execute(run);
    run_free(run);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*body)(void *), Run *run)
{
    if (pthread_create(thread, NULL, body, run) == 0)
        return;
    complain("can't start a thread");
    abort();
}

void join_last_run(Model *model)
{
    if (!atomic_exchange(&model->has_thread, false))
        return;
    if (pthread_equal(model->thread, pthread_self())) /* called from its last callback */
        pthread_detach(model->thread);
    else
        pthread_join(model->thread, NULL);
}

static void start_async(Run *run)
{
    Model *model = run->model;
    pthread_mutex_lock(&model->lock);
    start_thread(&model->thread, run_async_thread, run);
    model->has_thread = true;
    pthread_mutex_unlock(&model->lock);
}

static int run_sync(Run *run)
{
    if (run->scenario->thread == THREAD_CALLER)
        return prepare(run) ? execute(run) : give_up(run);
    pthread_t thread;
    void *status;
    start_thread(&thread, run_in_own_thread, run);
    pthread_join(thread, &status);
    return (int)(intptr_t)status;
}

int run_call(Call *call, RKLLMInput *input, RKLLMInferParam *infer, void *userdata, bool async)
{
    Model *model = call->model;
    Run *run = allocate(1, sizeof *run);
    long nth = atomic_fetch_add(&runs, 1) + 1;
    *run = (Run){.model = model, .scenario = scenario_share(call->scenario), .async = async};
    run->userdata = userdata ? userdata : model->result_userdata;
    run->faulty = call->scenario->run_nth == 0 || call->scenario->run_nth == nth;
    run->input = input;
    run->infer = infer;
    model_share(model);
    join_last_run(model);
    model->stopping = false;
    model->state = MODEL_RUNNING;
    call->holds_model = false; /* the run's own ending lets go of it */

    if (async && prepare(run)) {
        call->holds_npu = false; /* until the thread is done */
        start_async(run);
        return 0;
    }
    int status = async ? give_up(run) : run_sync(run);
    run_free(run);
    return status;
}
