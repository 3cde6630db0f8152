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

static View tensor_view(const rknn_custom_op_tensor *tensor)
{
    return (View){memory_bytes(&tensor->mem), tensor->attr.type, tensor->attr.fmt};
}

static rknn_tensor_attr operand_attr(const Context *context, Operand operand)
{
    return operand.is_input ? input_attr(context, operand.index) : output_attr(context, operand.index);
}

static View operand_view(const Context *context, Operand operand, const rknn_tensor_attr *own)
{
    const Slot *slots = operand.is_input ? context->inputs : context->outputs;
    return own_view(own, slots[operand.index].bytes);
}

/* What one callback gets. */
typedef struct {
    uint32_t input_count, output_count;
    rknn_custom_op_tensor *inputs, *outputs;
} Tensors;

static rknn_custom_op_tensor *tensors_of(const Context *context, const Operator *operator, const Operand *operands,
                                         uint32_t count)
{
    rknn_custom_op_tensor *tensors = allocate(count, sizeof *tensors);
    for (uint32_t i = 0; i < count; i++) {
        rknn_tensor_attr own = operand_attr(context, operands[i]);
        rknn_tensor_attr attr = tensor_attr_for(operator, &own);
        tensors[i] = tensor_create(&attr);
    }
    return tensors;
}

static Tensors tensors_create(const Context *context, const Operator *operator)
{
    const OperatorModel *model = operator->model;
    return (Tensors){model->input_count, model->output_count,
                     tensors_of(context, operator, model->inputs, model->input_count),
                     tensors_of(context, operator, model->outputs, model->output_count)};
}

static void tensors_free(Tensors *tensors)
{
    for (uint32_t i = 0; i < tensors->input_count; i++)
        free(tensors->inputs[i].mem.virt_addr);
    for (uint32_t i = 0; i < tensors->output_count; i++)
        free(tensors->outputs[i].mem.virt_addr);
    free(tensors->inputs);
    free(tensors->outputs);
}

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

static int call_back(Operator *operator, Callback callback, Tensors *tensors)
{
    if (!callback)
        return RKNN_SUCC;
    active = operator;
    int status = callback(&operator->context, tensors->inputs, tensors->input_count, tensors->outputs,
                          tensors->output_count);
    active = NULL;
    return status;
}

static int initialise(const Context *context, Operator *operator)
{
    Tensors tensors = tensors_create(context, operator);
    operator->context = (rknn_custom_op_context){.target = operator->callbacks.target,
                                                 .internal_ctx = (uint64_t)(uintptr_t)operator};
    int status = call_back(operator, operator->callbacks.init, &tensors);
    tensors_free(&tensors);
    operator->is_registered = status == RKNN_SUCC || status == RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE;
    operator->computes = status == RKNN_SUCC;
    return operator->is_registered ? RKNN_SUCC : status;
}

/* The operator reads what the model's inputs are and what the NPU made of its outputs; what it writes takes the place
 * of the latter. */
static int run_operator(Context *context, Operator *operator)
{
    const rknn_custom_op *callbacks = &operator->callbacks;
    const OperatorModel *model = operator->model;
    Tensors tensors = tensors_create(context, operator);
    for (uint32_t i = 0; i < tensors.input_count; i++) {
        rknn_tensor_attr own = operand_attr(context, model->inputs[i]);
        tensor_copy(&own, tensor_view(&tensors.inputs[i]), operand_view(context, model->inputs[i], &own));
    }
    int status = call_back(operator, callbacks->prepare, &tensors);
    if (status == RKNN_SUCC)
        status = call_back(operator, callbacks->compute_native ? callbacks->compute_native : callbacks->compute,
                           &tensors);
    for (uint32_t i = 0; i < tensors.output_count && status == RKNN_SUCC; i++) {
        rknn_tensor_attr own = operand_attr(context, model->outputs[i]);
        tensor_copy(&own, operand_view(context, model->outputs[i], &own), tensor_view(&tensors.outputs[i]));
    }
    tensors_free(&tensors);
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

/* Called inside another call, so it takes no part in what calls have in common but for the trace and its faults. An
 * attribute that the node does not have is left with n_elems 0. */
void rknn_custom_op_get_op_attr(rknn_custom_op_context *op_ctx, const char *attr_name, rknn_custom_op_attr *op_attr)
{
    static atomic_long count;
    trace("enter", function_names[FN_custom_op_get_op_attr], 0);
    Scenario *scenario = scenario_acquire(false);
    if (scenario)
        act(begin_function(scenario, FN_custom_op_get_op_attr, atomic_fetch_add(&count, 1) + 1));
    scenario_release(scenario);
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
