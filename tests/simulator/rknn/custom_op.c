/* Custom operators: what a caller registers for the nodes of a model, and when it is called back. */
#include "rknn_simulator.h"

#include <stdlib.h>
#include <string.h>

typedef int (*Callback)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *, uint32_t);

/* The operator whose callback is running on this thread: only it may ask for its attributes. */
static _Thread_local Operator *active;

/* ---- tensors ------------------------------------------------------------------------------------------------ */

enum { OFFSET = 64 }; /* a callback that forgets mem.offset reads this many bytes of nonsense */

/* compute works on floats in the order NCHW (int64 stays what it is), compute_native on what the layers use. */
static rknn_tensor_attr tensor_attr_for(const Operator *operator, const rknn_tensor_attr *own)
{
    if (operator->callbacks.compute_native)
        return *own;
    rknn_tensor_attr attr = *own;
    if (own->type != RKNN_TENSOR_INT64) {
        attr.type = RKNN_TENSOR_FLOAT32;
        attr.qnt_type = RKNN_TENSOR_QNT_NONE;
        attr.scale = 1;
        attr.zp = 0;
    }
    attr_set_dims(&attr, own->dims);
    return attr_in_format(&attr, RKNN_TENSOR_NCHW);
}

static rknn_custom_op_tensor tensor_create(const rknn_tensor_attr *attr)
{
    rknn_custom_op_tensor tensor = {.attr = *attr};
    uint8_t *bytes = allocate(OFFSET + attr->size, 1);
    memset(bytes, 0xaa, OFFSET);
    tensor.mem = (rknn_tensor_mem){.virt_addr = bytes, .fd = -1, .offset = OFFSET, .size = OFFSET + attr->size};
    return tensor;
}

static View tensor_view(const rknn_custom_op_tensor *tensor, const rknn_tensor_attr *attr)
{
    return (View){memory_bytes(&tensor->mem), attr->type, attr->fmt};
}

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

static int call_back(Operator *operator, Callback callback, rknn_custom_op_tensor *input, rknn_custom_op_tensor *output)
{
    if (!callback)
        return RKNN_SUCC;
    active = operator;
    int status = callback(&operator->context, input, 1, output, 1);
    active = NULL;
    return status;
}

static int initialise(const Context *context, Operator *operator)
{
    rknn_tensor_attr own = output_attr(context, operator->model->output);
    rknn_tensor_attr attr = tensor_attr_for(operator, &own);
    rknn_custom_op_tensor input = tensor_create(&attr), output = tensor_create(&attr);
    operator->context = (rknn_custom_op_context){.target = operator->callbacks.target,
                                                 .internal_ctx = (uint64_t)(uintptr_t)operator};
    int status = call_back(operator, operator->callbacks.init, &input, &output);
    free(input.mem.virt_addr);
    free(output.mem.virt_addr);
    operator->is_registered = status == RKNN_SUCC || status == RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE;
    operator->computes = status == RKNN_SUCC;
    return operator->is_registered ? RKNN_SUCC : status;
}

/* The operator reads what the NPU made of its output, and what it writes takes that place. */
static int run_operator(Context *context, Operator *operator)
{
    rknn_tensor_attr own = output_attr(context, operator->model->output);
    rknn_tensor_attr attr = tensor_attr_for(operator, &own);
    const rknn_custom_op *callbacks = &operator->callbacks;
    View bytes = own_view(&own, context->outputs[operator->model->output].bytes);
    rknn_custom_op_tensor input = tensor_create(&attr), output = tensor_create(&attr);
    tensor_copy(&own, tensor_view(&input, &attr), bytes);
    int status = call_back(operator, callbacks->prepare, &input, &output);
    if (status == RKNN_SUCC)
        status = call_back(operator, callbacks->compute_native ? callbacks->compute_native : callbacks->compute, &input,
                           &output);
    if (status == RKNN_SUCC)
        tensor_copy(&own, bytes, tensor_view(&output, &attr));
    free(input.mem.virt_addr);
    free(output.mem.virt_addr);
    return status == RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE ? RKNN_SUCC : status;
}

/* ---- the operators of a context ----------------------------------------------------------------------------- */

void operators_create(Context *context)
{
    const Model *model = context->model;
    context->operators = allocate(model->operator_count, sizeof *context->operators);
    for (uint32_t i = 0; i < model->operator_count; i++)
        context->operators[i].model = &model->operators[i];
}

void operators_destroy(Context *context)
{
    for (uint32_t i = 0; i < context->model->operator_count; i++) {
        Operator *operator = &context->operators[i];
        if (!operator->is_registered || !operator->callbacks.destroy)
            continue;
        active = operator;
        operator->callbacks.destroy(&operator->context);
        active = NULL;
    }
    free(context->operators);
}

bool operators_ready(const Scenario *scenario, const Context *context)
{
    for (uint32_t i = 0; i < context->model->operator_count; i++) {
        if (context->operators[i].is_registered)
            continue;
        vendor_log(scenario,
                   ERROR_LINE "Unsupport CPU op: %s in this librknnrt.so, please try to register custom op by calling "
                              "rknn_register_custom_ops or update to the latest toolkit2 and runtime",
                   context->model->operators[i].type);
        return false;
    }
    return true;
}

int operators_run(Context *context)
{
    int status = RKNN_SUCC;
    for (uint32_t i = 0; i < context->model->operator_count && status == RKNN_SUCC; i++)
        if (context->operators[i].computes)
            status = run_operator(context, &context->operators[i]);
    return status;
}

/* ---- exported ----------------------------------------------------------------------------------------------- */

static int register_one(Context *context, const rknn_custom_op *wanted)
{
    bool has_target = wanted->target == RKNN_TARGET_TYPE_CPU || wanted->target == RKNN_TARGET_TYPE_GPU;
    if (!has_target || !*wanted->op_type || (!wanted->compute && !wanted->compute_native))
        return RKNN_ERR_PARAM_INVALID;
    int status = RKNN_SUCC;
    for (uint32_t i = 0; i < context->model->operator_count && status == RKNN_SUCC; i++) {
        Operator *operator = &context->operators[i];
        if (strncmp(operator->model->type, wanted->op_type, sizeof wanted->op_type) != 0)
            continue;
        if (operator->is_registered)
            return RKNN_ERR_PARAM_INVALID;
        operator->callbacks = *wanted;
        status = initialise(context, operator);
    }
    return status;
}

int rknn_register_custom_ops(rknn_context ctx, rknn_custom_op *op, uint32_t custom_op_num)
{
    Call call;
    if (call_enter(&call, FN_register_custom_ops, ctx)) {
        call.status = op && custom_op_num ? RKNN_SUCC : RKNN_ERR_PARAM_INVALID;
        for (uint32_t i = 0; i < custom_op_num && call.status == RKNN_SUCC; i++)
            call.status = register_one(call.context, &op[i]);
    }
    return call_leave(&call);
}

/* Called inside another call, so it takes no part in what calls have in common but for the trace. An attribute that
 * the node does not have is left with n_elems 0. */
void rknn_custom_op_get_op_attr(rknn_custom_op_context *op_ctx, const char *attr_name, rknn_custom_op_attr *op_attr)
{
    trace("enter", function_names[FN_custom_op_get_op_attr], 0);
    if (op_attr)
        memset(op_attr, 0, sizeof *op_attr);
    if (!active || op_ctx != &active->context || !attr_name || !op_attr) {
        complain("rknn_custom_op_get_op_attr was called outside the callback of its operator, or with NULL");
    } else {
        for (uint32_t i = 0; i < active->model->attribute_count; i++)
            if (strcmp(active->model->attributes[i].name, attr_name) == 0)
                *op_attr = active->model->attributes[i];
    }
    trace("leave", function_names[FN_custom_op_get_op_attr], op_attr && op_attr->data ? RKNN_SUCC : RKNN_ERR_FAIL);
}
