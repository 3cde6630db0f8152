/* The exported functions run and wait, and what a run computes.
 *
 * A run that does not block is computed by who waits for it: until then it holds the NPU, whatever the clock says. So
 * a test sees an overlap each time and not only when it is slow. */
#include "rknn_simulator.h"

#include <string.h>

/* ---- before ------------------------------------------------------------------------------------------------- */

static bool slot_is_ready(const Slot *slot, const char *name, bool needs_bytes, const Scenario *scenario)
{
    if (slot->memory_is_gone)
        complain("the memory that was bound to %s is destroyed", name);
    else if (needs_bytes && !slot->memory && !slot->is_set)
        vendor_log(scenario, ERROR_LINE "rknn_run, input %s was not set", name);
    else
        return true;
    return false;
}

static int check_ready(const Call *call)
{
    const Context *context = call->context;
    const Model *model = context->model;
    uint32_t flag = context->flag;
    if (flag & RKNN_FLAG_COLLECT_MODEL_INFO_ONLY) {
        vendor_log(call->scenario, ERROR_LINE "rknn_run, the context was made for the model's information only");
        return RKNN_ERR_FAIL;
    }
    bool lacks_weights = flag & RKNN_FLAG_MEM_ALLOC_OUTSIDE && !context->has_weight_memory;
    bool lacks_internal = flag & (RKNN_FLAG_MEM_ALLOC_OUTSIDE | RKNN_FLAG_INTERNAL_ALLOC_OUTSIDE);
    if (lacks_weights || (lacks_internal && !context->has_internal_memory)) {
        vendor_log(call->scenario, ERROR_LINE "rknn_run, weight or internal memory was not set");
        return RKNN_ERR_FAIL;
    }
    for (uint32_t i = 0; i < model->input_count; i++)
        if (!slot_is_ready(&context->inputs[i], model->inputs[i].attr.name, true, call->scenario))
            return RKNN_ERR_INPUT_INVALID;
    for (uint32_t i = 0; i < model->output_count; i++)
        if (!slot_is_ready(&context->outputs[i], model->outputs[i].attr.name, false, call->scenario))
            return RKNN_ERR_OUTPUT_INVALID;
    return operators_ready(call->scenario, context) ? RKNN_SUCC : RKNN_ERR_FAIL;
}

/* ---- what a run computes ------------------------------------------------------------------------------------ */

static void read_memories(Context *context)
{
    for (uint32_t i = 0; i < context->model->input_count; i++) {
        const Slot *slot = &context->inputs[i];
        rknn_tensor_attr attr = input_attr(context, i);
        if (slot->memory)
            tensor_copy(&attr, own_view(&attr, slot->bytes), slot->view);
    }
}

static void write_memories(Context *context)
{
    for (uint32_t i = 0; i < context->model->output_count; i++) {
        const Slot *slot = &context->outputs[i];
        rknn_tensor_attr attr = output_attr(context, i);
        if (slot->memory)
            tensor_copy(&attr, slot->view, own_view(&attr, slot->bytes));
    }
}

static uint32_t sum_of_inputs(const Context *context)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < context->model->input_count; i++) {
        size_t size = input_attr(context, i).size;
        for (size_t k = 0; k < size; k++)
            sum += context->inputs[i].bytes[k];
    }
    return sum;
}

static double wrapped(rknn_tensor_type type, uint32_t number)
{
    switch (type) {
    case RKNN_TENSOR_UINT8:
        return (uint8_t)number;
    case RKNN_TENSOR_BOOL:
        return number & 1;
    case RKNN_TENSOR_INT4:
        return (int)((number & 15) ^ 8) - 8;
    default:
        return (int8_t)number;
    }
}

static bool copies_input(const Context *context, uint32_t index, const rknn_tensor_attr *output)
{
    if (index >= context->model->input_count)
        return false;
    rknn_tensor_attr input = input_attr(context, index);
    return input.size == output->size && input.type == output->type;
}

/* README.md promises this: output k is a copy of input k where type and size are the same; else its element i is the
 * sum of all bytes of all inputs, plus k, plus i, wrapped to eight bits. */
static void compute(Context *context)
{
    uint32_t sum = sum_of_inputs(context);
    for (uint32_t k = 0; k < context->model->output_count; k++) {
        rknn_tensor_attr attr = output_attr(context, k);
        uint8_t *bytes = context->outputs[k].bytes;
        if (copies_input(context, k, &attr)) {
            memcpy(bytes, context->inputs[k].bytes, attr.size);
            continue;
        }
        for (uint32_t i = 0; i < attr.n_elems; i++)
            element_set(attr.type, bytes, i, wrapped(attr.type, sum + k + i));
    }
}

/* ---- the end of a run --------------------------------------------------------------------------------------- */

void say_submit_failed(const Scenario *scenario, const char *operator_name)
{
    vendor_log(scenario,
               ERROR_LINE "failed to submit!, op id: 1, op name: %s, flags: 0x5, task start: 0, task number: 1, run "
                          "task counter: 0, int status: 0, If using rknn, update to the latest toolkit2 and runtime",
               operator_name);
}

void run_forget(Context *context, int status)
{
    context->is_pending = false;
    trace("finished", function_names[FN_run], status);
}

static int complete(const Scenario *scenario, Context *context)
{
    switch (context->pending_action) {
    case ACTION_FAIL:
        say_submit_failed(scenario, "Conv:/model.0/conv/Conv");
        return (int)scenario->error_status;
    case ACTION_TIMEOUT:
        say_submit_failed(scenario, "Conv:/model.0/conv/Conv");
        return RKNN_ERR_TIMEOUT;
    default:
        act(context->pending_action);
    }
    compute(context);
    int status = operators_run(context);
    if (status != RKNN_SUCC)
        return status;
    write_memories(context);
    context->has_run = true;
    return RKNN_SUCC;
}

static bool ends_in_time(const Context *context, int timeout_ms, int64_t *wake)
{
    int64_t deadline = timeout_ms > 0 ? now_ns() + (int64_t)timeout_ms * 1000000 : INT64_MAX;
    bool hangs = context->pending_action == ACTION_HANG && timeout_ms > 0;
    bool in_time = !hangs && context->due_ns <= deadline;
    *wake = in_time ? context->due_ns : deadline;
    return in_time;
}

int run_finish(const Scenario *scenario, Context *context, int timeout_ms)
{
    int64_t wake;
    bool in_time = ends_in_time(context, timeout_ms, &wake);
    sleep_until(wake);
    if (!in_time)
        return RKNN_ERR_TIMEOUT;
    int status = complete(scenario, context);
    run_forget(context, status);
    return status;
}

/* ---- run and wait ------------------------------------------------------------------------------------------- */

static bool npu_is_free(const Context *context)
{
    const Context *pending = context_pending();
    if (pending)
        complain("overlap: rknn_run was called while the run of context %llu has not been waited for",
                 (unsigned long long)pending->handle);
    return pending != context;
}

static int run(const Call *call, rknn_run_extend *extend)
{
    Context *context = call->context;
    int status = npu_is_free(context) ? check_ready(call) : RKNN_ERR_FAIL;
    if (status != RKNN_SUCC)
        return status;
    read_memories(context);
    context->is_pending = true;
    context->pending_action = call->action;
    context->duration_us = call->scenario->run_us;
    context->due_ns = now_ns() + context->duration_us * 1000;
    context->frame++;
    if (extend)
        extend->frame_id = context->frame;
    trace("submitted", function_names[FN_run], (long long)context->handle);
    if (extend && extend->non_block)
        return RKNN_SUCC;
    status = run_finish(call->scenario, context, extend ? extend->timeout_ms : 0);
    if (context->is_pending)
        run_forget(context, status); /* a run that blocks is given up when its time is over */
    return status;
}

int rknn_run(rknn_context context, rknn_run_extend *extend)
{
    Call call;
    if (call_enter(&call, FN_run, context))
        call.status = run(&call, extend);
    return call_leave(&call);
}

static int wait_for_run(const Call *call, rknn_run_extend *extend)
{
    Context *context = call->context;
    if (!context->is_pending)
        return context->has_run ? RKNN_SUCC : RKNN_ERR_FAIL;
    if (extend)
        extend->frame_id = context->frame;
    return run_finish(call->scenario, context, extend ? extend->timeout_ms : 0);
}

int rknn_wait(rknn_context context, rknn_run_extend *extend)
{
    Call call;
    if (call_enter(&call, FN_wait, context))
        call.status = wait_for_run(&call, extend);
    return call_leave(&call);
}
