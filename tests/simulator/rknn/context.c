/* The exported functions that make and end contexts, and the table of live ones. */
#include "rknn_simulator.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What tests and the daemon search the file for, without loading it. */
__attribute__((used)) static const char version_text[] = "librknnrt version: " VERSION_TEXT;

/* ---- the table, under the library's lock -------------------------------------------------------------------- */

static Context *table;
static rknn_context serial;
static atomic_int contexts_alive, matmuls_alive;

Context *context_create(void)
{
    Context *context = allocate(1, sizeof *context);
    context->handle = 0x52000000u + 16 * ++serial;
    context->thread = own_thread();
    context->next = table;
    table = context;
    return context;
}

Context *context_find(rknn_context handle)
{
    Context *context = table;
    while (context && context->handle != handle)
        context = context->next;
    return context;
}

Context *context_pending(void)
{
    Context *context = table;
    while (context && !context->is_pending)
        context = context->next;
    return context;
}

void context_free(Context *context)
{
    Context **link = &table;
    while (*link && *link != context)
        link = &(*link)->next;
    if (*link)
        *link = context->next;
    if (context->model) {
        operators_destroy(context);
        slots_free(context);
        model_release(context->model);
    }
    if (context->matmul)
        matmul_free(context->matmul);
    free(context->perf_text);
    free(context);
}

static void forget_in(Slot *slots, uint32_t count, const rknn_tensor_mem *memory)
{
    for (uint32_t i = 0; i < count; i++)
        if (slots[i].memory == memory) {
            slots[i].memory = NULL;
            slots[i].memory_is_gone = true;
        }
}

void slots_forget_memory(const rknn_tensor_mem *memory)
{
    for (Context *context = table; context; context = context->next) {
        if (context->matmul)
            matmul_forget_memory(context->matmul, memory);
        if (!context->model)
            continue;
        forget_in(context->inputs, context->model->input_count, memory);
        forget_in(context->outputs, context->model->output_count, memory);
    }
}

static void count_alive(int *contexts, int *matmuls)
{
    *contexts = *matmuls = 0;
    for (Context *context = table; context; context = context->next)
        ++*(context->matmul ? matmuls : contexts);
}

/* After each function that makes or ends one: so a test sees in the trace what was never ended. */
void trace_live(void)
{
    int contexts, matmuls;
    count_alive(&contexts, &matmuls);
    atomic_store(&contexts_alive, contexts);
    atomic_store(&matmuls_alive, matmuls);
    trace("live", "contexts", contexts);
    trace("live", "memories", atomic_load(&memories_alive));
    trace("live", "matmuls", matmuls);
}

void rknn_simulator_live(int *contexts, int *memories, int *matmuls)
{
    if (contexts)
        *contexts = atomic_load(&contexts_alive);
    if (memories)
        *memories = atomic_load(&memories_alive);
    if (matmuls)
        *matmuls = atomic_load(&matmuls_alive);
}

/* ---- memory limit ------------------------------------------------------------------------------------------- */

bool has_room(const Scenario *scenario, uint64_t bytes)
{
    uint64_t used = memory_bytes_alive();
    for (Context *context = table; context; context = context->next)
        if (context->model)
            used += (context->owns_weights ? context->model->weight_bytes : 0) + context->model->internal_bytes;
    if (!scenario->memory_limit || used + bytes <= (uint64_t)scenario->memory_limit)
        return true;
    say_out_of_memory(scenario, bytes);
    return false;
}

void say_out_of_memory(const Scenario *scenario, uint64_t bytes)
{
    vendor_log(scenario, ERROR_LINE "failed to allocate handle, ret: -1, errno: 14, errstr: Bad address");
    vendor_log(scenario, ERROR_LINE "failed to malloc npu memory, size: %llu, flags: 0x2", (unsigned long long)bytes);
}

/* ---- init --------------------------------------------------------------------------------------------------- */

static Model *parse_file(const Scenario *scenario, const char *path, const rknn_init_extend *extend)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        vendor_log(scenario, ERROR_LINE "rknn_init, open model %s failed: %s", path, strerror(errno));
        return NULL;
    }
    /* Only a description is read further than its first bytes; no model is as big as a real one. */
    size_t limit = extend && extend->real_model_size ? extend->real_model_size : 1 << 20;
    off_t offset = extend ? extend->real_model_offset : 0;
    Text text = {0};
    char chunk[4096];
    ssize_t length = 0;
    text_add(&text, "", 0);
    while (text.length < limit && (length = pread(fd, chunk, sizeof chunk, offset + (off_t)text.length)) > 0)
        text_add(&text, chunk, (size_t)length);
    close(fd);
    Model *model = NULL;
    if (length < 0)
        vendor_log(scenario, ERROR_LINE "rknn_init, read model %s failed: %s", path, strerror(errno));
    else
        model = model_parse(text.bytes, text.length < limit ? text.length : limit);
    free(text.bytes);
    return model;
}

static void log_model(const Scenario *scenario, const Model *model)
{
    const char *driver = scenario->driver_version ? scenario->driver_version : "0.9.8";
    vendor_log(scenario, INFO_LINE "RKNN Runtime Information, librknnrt version: " VERSION_TEXT);
    vendor_log(scenario, INFO_LINE "RKNN Driver Information, version: %s", driver);
    vendor_log(scenario,
               INFO_LINE "RKNN Model Information, version: 6, toolkit version: " RKNN_VERSION
                         "(compiler version: " VERSION_TEXT "), target: RKNPU v2, target platform: rk3588, "
                         "framework name: ONNX, framework layout: NCHW, model inference type: %s",
               model->shape_count > 1 ? "dynamic_shape" : "static_shape");
}

static Context *context_of_model(Model *model, uint32_t flag, bool owns_weights)
{
    Context *context = context_create();
    context->model = model;
    context->flag = flag;
    context->owns_weights = owns_weights;
    context->inputs = allocate(model->input_count, sizeof *context->inputs);
    context->outputs = allocate(model->output_count, sizeof *context->outputs);
    slots_reset(context);
    operators_create(context);
    return context;
}

static int init(const Call *call, rknn_context *handle, const void *content, uint32_t size, uint32_t flag,
                const rknn_init_extend *extend)
{
    const Scenario *scenario = call->scenario;
    if (!handle || !content)
        return RKNN_ERR_PARAM_INVALID;
    bool shares_weights = flag & RKNN_FLAG_SHARE_WEIGHT_MEM;
    const Context *other = shares_weights && extend ? context_find(extend->ctx) : NULL;
    if (shares_weights && (!other || !other->model))
        return RKNN_ERR_CTX_INVALID;
    Model *model = size ? model_parse(content, size) : parse_file(scenario, content, extend);
    if (model && call->action == ACTION_FAIL)
        say_out_of_memory(scenario, model->weight_bytes);
    uint64_t bytes = model ? (shares_weights ? 0 : model->weight_bytes) + (uint64_t)model->internal_bytes : 0;
    bool fails = !model || call->action == ACTION_FAIL || !has_room(scenario, bytes);
    if (fails) {
        vendor_log(scenario, ERROR_LINE "Import rknn model failed!");
        vendor_log(scenario, ERROR_LINE "rknn_init, load model failed!");
        if (model)
            model_release(model);
        return model ? (int)scenario->init_status : RKNN_ERR_MODEL_INVALID;
    }
    log_model(scenario, model);
    *handle = context_of_model(model, flag, !shares_weights)->handle;
    return RKNN_SUCC;
}

static void check_pending(Function function)
{
    const Context *pending = context_pending();
    if (pending)
        complain("overlap: %s was called while the run of context %llu has not been waited for",
                 function_names[function], (unsigned long long)pending->handle);
}

int rknn_init(rknn_context *context, void *model, uint32_t size, uint32_t flag, rknn_init_extend *extend)
{
    Call call;
    if (call_enter(&call, FN_init, 0)) {
        check_pending(FN_init);
        if (call.action != ACTION_FAIL)
            act(call.action);
        call.status = init(&call, context, model, size, flag, extend);
        trace_live();
    }
    return call_leave(&call);
}

static int dup_context(const Call *call, rknn_context *handle)
{
    Model *model = call->context->model;
    if (!handle)
        return RKNN_ERR_PARAM_INVALID;
    if (!has_room(call->scenario, model->internal_bytes))
        return RKNN_ERR_MALLOC_FAIL;
    model->references++;
    *handle = context_of_model(model, call->context->flag, false)->handle;
    return RKNN_SUCC;
}

int rknn_dup_context(rknn_context *context_in, rknn_context *context_out)
{
    Call call;
    if (call_enter(&call, FN_dup_context, context_in ? *context_in : 0)) {
        call.status = dup_context(&call, context_out);
        trace_live();
    }
    return call_leave(&call);
}

/* ---- destroy ------------------------------------------------------------------------------------------------ */

static int destroy(Context *context)
{
    unsigned long long handle = context->handle;
    int memories = memories_of(context->handle);
    if (memories)
        complain("order: context %llu is destroyed while %d of its memories live", handle, memories);
    if (context->given_count)
        complain("context %llu is destroyed with %zu outputs not released", handle, context->given_count);
    if (context->is_pending) {
        complain("context %llu is destroyed before its run was waited for", handle);
        run_forget(context, RKNN_ERR_CTX_INVALID);
    }
    context_free(context);
    return RKNN_SUCC;
}

int rknn_destroy(rknn_context context)
{
    Call call;
    if (call_enter(&call, FN_destroy, context)) {
        call.status = destroy(call.context);
        trace_live();
    }
    return call_leave(&call);
}

int rknn_matmul_destroy(rknn_matmul_ctx ctx)
{
    Call call;
    if (call_enter(&call, FN_matmul_destroy, ctx)) {
        call.status = destroy(call.context);
        trace_live();
    }
    return call_leave(&call);
}

/* ---- cores -------------------------------------------------------------------------------------------------- */

int rknn_set_batch_core_num(rknn_context context, int core_num)
{
    Call call;
    if (call_enter(&call, FN_set_batch_core_num, context))
        call.status = core_num >= 1 && core_num <= 3 ? RKNN_SUCC : RKNN_ERR_PARAM_INVALID;
    return call_leave(&call);
}

static int check_core_mask(rknn_core_mask mask)
{
    switch (mask) {
    case RKNN_NPU_CORE_AUTO:
    case RKNN_NPU_CORE_0:
    case RKNN_NPU_CORE_1:
    case RKNN_NPU_CORE_2:
    case RKNN_NPU_CORE_0_1:
    case RKNN_NPU_CORE_0_1_2:
    case RKNN_NPU_CORE_ALL:
        return RKNN_SUCC;
    default:
        return RKNN_ERR_PARAM_INVALID;
    }
}

int rknn_set_core_mask(rknn_context context, rknn_core_mask core_mask)
{
    Call call;
    if (call_enter(&call, FN_set_core_mask, context))
        call.status = check_core_mask(core_mask);
    return call_leave(&call);
}

int rknn_matmul_set_core_mask(rknn_matmul_ctx context, rknn_core_mask core_mask)
{
    Call call;
    if (call_enter(&call, FN_matmul_set_core_mask, context))
        call.status = check_core_mask(core_mask);
    return call_leave(&call);
}
