/* What a run calls back with: prefill, then tokens or rows, until something ends it. */
#include "simulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_long freed_buffers;

long simulator_freed_buffers(void)
{
    return atomic_load(&freed_buffers);
}

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

static const char *const state_names[] = {"normal", "waiting", "finish", "error"};

int run_callback(Run *run, LLMCallState state)
{
    if (run->scenario->trace_callbacks)
        trace("callback", state_names[state], run->generated);
    int reply = run->model->result_callback(run->results, run->userdata, state);
    if (run->scenario->trace_callbacks == 2)
        trace("resumed", state_names[state], reply);
    if (reply == 0 || reply == 1)
        return reply;
    if (reply == 2 && RKLLM_LAYOUT >= 130)
        atomic_fetch_add(&freed_buffers, 1);
    else
        complain("the callback returned %d", reply);
    return reply;
}

void run_blank_results(Run *run, const char *text)
{
    memset(run->results, 0, (size_t)run->model->n_batch * sizeof *run->results);
    for (int entry = 0; entry < run->model->n_batch; entry++)
        run->results[entry].text = text;
}

static bool is_stopping(const Run *run)
{
    return atomic_load_explicit(&run->model->stopping, memory_order_relaxed) ||
           atomic_load_explicit(&run->model->dead, memory_order_relaxed);
}

/* Acts out run= and says how it ends the run, or returns false. */
static bool meets_fault(const Run *run, int64_t step, Ending *ending)
{
    const Fault *fault = &run->scenario->run;
    if (!run->faulty || !fault_is_due(run->scenario, fault, step))
        return false;
    act((Action)fault->action);
    *ending = fault->action == ACTION_ERROR ? END_ERROR : END_FAILED;
    return true;
}

static void print_at(const Run *run, int64_t step)
{
    if (run->scenario->print_at == step || run->scenario->print_at == AT_EVERY)
        print_lines(run->scenario);
}

/* Row i, column j of entry e is (i * width + j) % 7 - 3 + e. */
static Ending deliver_rows(Run *run)
{
    Model *model = run->model;
    bool hidden = run->mode == RKLLM_INFER_GET_LAST_HIDDEN_LAYER;
    size_t width = (size_t)(hidden ? run->scenario->embd : run->scenario->vocab), total = 0, at = 0;
    int64_t most = run->scenario->rows;
    Ending ending;
    if (is_stopping(run))
        return END_ABORTED;
    print_at(run, 0);
    if (meets_fault(run, 0, &ending))
        return ending;
    for (int entry = 0; entry < model->n_batch; entry++)
        total += (size_t)run->input_tokens[entry];
    float *rows = allocate(total * width, sizeof *rows);
    for (int entry = 0; entry < model->n_batch; entry++) {
        int32_t n = run->input_tokens[entry], first = most && most < n ? n - (int32_t)most : 0;
        for (size_t cell = 0; cell < (size_t)n * width; cell++)
            rows[at + cell] = (float)(cell % 7) - 3 + (float)entry;
        const float *start = rows + at + (size_t)first * width;
        if (hidden)
            run->results[entry].last_hidden_layer = (RKLLMResultLastHiddenLayer){start, (int)width, n - first};
        else
            run->results[entry].logits = (RKLLMResultLogits){start, (int)width, n - first};
        at += (size_t)n * width;
    }
    free(model->rows); /* kept from run to run, as the vendor's buffers are, unless the callback returns 2 */
    model->rows = rows;
    int reply = run_callback(run, RKLLM_RUN_NORMAL);
    if (reply == 2 && RKLLM_LAYOUT >= 130) {
        free(rows);
        model->rows = NULL;
    }
    return is_stopping(run) ? END_ABORTED : reply == 1 ? END_PAUSED : END_FINISHED;
}

/* Puts each entry's next token into the results. False when every entry has ended. */
static bool next_token(Run *run, LLMCallState *state, const char *stamp)
{
    Model *model = run->model;
    bool any = false;
    *state = RKLLM_RUN_WAITING;
    for (int entry = 0; entry < model->n_batch; entry++) {
        Output *output = &run->outputs[entry];
        RKLLMResult *result = &run->results[entry];
        if (output->next >= output->total) {
            result->text = NULL;
            result->token_id = -1;
            continue;
        }
        const Token *token = &output->tokens[output->next % output->count];
        result->text = stamp ? stamp : token->text;
        result->token_id = (int32_t)((100 + output->next++) & INT32_MAX);
        if (stamp || token->state == RKLLM_RUN_NORMAL)
            *state = RKLLM_RUN_NORMAL;
        atomic_fetch_add_explicit(&model->kv[entry], 1, memory_order_relaxed);
        any = true;
    }
    return any;
}

static bool embed_result(Run *run)
{
#if RKLLM_LAYOUT >= 130
    double sum;
    if (run->scenario->embed_each_token && run->model->callbacks.embed_callback)
        return embed_tokens(run, &run->results[0].token_id, 1, &sum);
#endif
    (void)run;
    return true;
}

/* Absolute deadlines, so that the pace has no drift; but a callback that took longer is not caught up with, because a
 * real NPU only starts on the next token when the callback has returned. */
static void keep_pace(int64_t *deadline, int64_t pace_ns)
{
    int64_t now = now_ns();
    *deadline += pace_ns;
    if (*deadline < now)
        *deadline = now;
    else
        sleep_until(*deadline);
}

static void blank_at(Run *run, int64_t step)
{
    if (step != run->scenario->null_text_at && step != run->scenario->empty_text_at)
        return;
    run_blank_results(run, step == run->scenario->null_text_at ? NULL : "");
    run_callback(run, RKLLM_RUN_NORMAL);
}

static Ending generate(Run *run)
{
    const Scenario *scenario = run->scenario;
    int64_t deadline = now_ns(), stop_at = INT64_MAX;
    char stamp[24];
    Ending ending;
    for (int64_t step = 0;; step++) {
        if (scenario->pace_us && step > 0)
            keep_pace(&deadline, scenario->pace_us * 1000);
        if (atomic_load_explicit(&run->model->dead, memory_order_relaxed))
            return END_ERROR;
        if (stop_at == INT64_MAX && is_stopping(run))
            stop_at = step + scenario->abort_lag;
        if (step >= stop_at)
            return END_ABORTED;
        print_at(run, step);
        if (meets_fault(run, step, &ending))
            return ending;
        if (run->max_new_tokens > 0 && step >= run->max_new_tokens)
            return END_FINISHED;
        blank_at(run, step);
        if (scenario->stamp)
            snprintf(stamp, sizeof stamp, "%lld ", (long long)now_ns());
        LLMCallState state;
        if (!next_token(run, &state, scenario->stamp ? stamp : NULL))
            return END_FINISHED;
        run->generated++;
        if (run_callback(run, state) == 1)
            return END_PAUSED;
        if (!embed_result(run))
            return END_ERROR;
    }
}

/* The vendor's abort does not act during prefill; prefill_abort=1 is a runtime where it does. */
static void prefill(Run *run)
{
    Model *model = run->model;
    if (run->scenario->prefill_hold)
        hold();
    int64_t tokens = -(int64_t)run->cached_tokens;
    for (int entry = 0; entry < model->n_batch; entry++)
        tokens += run->input_tokens[entry];
    int64_t ns = run->scenario->prefill_ms * 1000000 + tokens * run->scenario->prefill_token_us * 1000;
    if (ns <= 0)
        return;
    int64_t end = now_ns() + ns;
    if (!run->scenario->prefill_abort) {
        sleep_until(end);
        return;
    }
    struct timespec deadline = {(time_t)(end / 1000000000), (long)(end % 1000000000)};
    pthread_mutex_lock(&model->lock);
    while (!is_stopping(run) && pthread_cond_timedwait(&model->wake, &model->lock, &deadline) == 0) {
    }
    pthread_mutex_unlock(&model->lock);
}

Ending run_to_the_end(Run *run)
{
    prefill(run);
    return run->mode == RKLLM_INFER_GENERATE ? generate(run) : deliver_rows(run);
}
