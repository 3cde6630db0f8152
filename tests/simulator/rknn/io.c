/* The exported functions that bring inputs in and outputs out: by copies, or by memories that were bound. */
#include "rknn_simulator.h"

#include <stdlib.h>
#include <string.h>

/* ---- slots -------------------------------------------------------------------------------------------------- */

rknn_tensor_attr input_attr(const Context *context, uint32_t index)
{
    return tensor_attr(&context->model->inputs[index], context->shape);
}

rknn_tensor_attr output_attr(const Context *context, uint32_t index)
{
    return tensor_attr(&context->model->outputs[index], context->shape);
}

static void slot_reset(Slot *slot, size_t size)
{
    free(slot->bytes);
    *slot = (Slot){.bytes = allocate(size, 1)};
}

void slots_reset(Context *context)
{
    for (uint32_t i = 0; i < context->model->input_count; i++)
        slot_reset(&context->inputs[i], input_attr(context, i).size);
    for (uint32_t i = 0; i < context->model->output_count; i++)
        slot_reset(&context->outputs[i], output_attr(context, i).size);
    context->has_run = false;
}

void slots_free(Context *context)
{
    for (uint32_t i = 0; i < context->model->input_count; i++)
        free(context->inputs[i].bytes);
    for (uint32_t i = 0; i < context->model->output_count; i++)
        free(context->outputs[i].bytes);
    free(context->inputs);
    free(context->outputs);
    for (size_t i = 0; i < context->given_count; i++)
        free(context->given_outputs[i]);
    free(context->given_outputs);
}

static rknn_tensor_format format_or_own(const rknn_tensor_attr *attr, rknn_tensor_format format)
{
    return attr->n_dims != 4 || format == RKNN_TENSOR_UNDEFINED ? attr->fmt : format;
}

/* ---- inputs ------------------------------------------------------------------------------------------------- */

static int set_input(Context *context, const rknn_input *input, const Scenario *scenario)
{
    if (input->index >= context->model->input_count || !input->buf)
        return RKNN_ERR_INPUT_INVALID;
    rknn_tensor_attr attr = input_attr(context, input->index);
    bool format_is_known = input->fmt >= RKNN_TENSOR_NCHW && input->fmt < RKNN_TENSOR_FORMAT_MAX;
    bool is_known = type_is_known(input->type) && format_is_known && input->fmt != RKNN_TENSOR_NC1HWC2;
    if (!input->pass_through && !is_known)
        return RKNN_ERR_INPUT_INVALID;
    View from = {input->buf, input->type, format_or_own(&attr, input->fmt)};
    if (input->pass_through)
        from = own_view(&attr, input->buf);
    size_t needed = view_bytes(&attr, from.type, from.format);
    if (input->size != needed) {
        vendor_log(scenario, ERROR_LINE "rknn_inputs_set, param input size(%u) of index %u is not the model's %zu",
                   input->size, input->index, needed);
        return RKNN_ERR_INPUT_INVALID;
    }
    Slot *slot = &context->inputs[input->index];
    tensor_copy(&attr, own_view(&attr, slot->bytes), from);
    slot->is_set = true;
    return RKNN_SUCC;
}

static int inputs_set(const Call *call, uint32_t count, const rknn_input *inputs)
{
    if (!inputs || !count)
        return RKNN_ERR_PARAM_INVALID;
    if (count > call->context->model->input_count)
        return RKNN_ERR_INPUT_INVALID;
    int status = RKNN_SUCC;
    for (uint32_t i = 0; i < count && status == RKNN_SUCC; i++)
        status = set_input(call->context, &inputs[i], call->scenario);
    return status;
}

int rknn_inputs_set(rknn_context context, uint32_t n_inputs, rknn_input inputs[])
{
    Call call;
    if (call_enter(&call, FN_inputs_set, context))
        call.status = inputs_set(&call, n_inputs, inputs);
    return call_leave(&call);
}

/* ---- outputs ------------------------------------------------------------------------------------------------ */

static bool output_is_valid(const Context *context, const rknn_output *output, const Scenario *scenario)
{
    if (output->index >= context->model->output_count)
        return false;
    rknn_tensor_attr attr = output_attr(context, output->index);
    size_t needed = type_bytes(output->want_float ? RKNN_TENSOR_FLOAT32 : attr.type, attr.n_elems);
    if (!output->is_prealloc || (output->buf && output->size >= needed))
        return true;
    vendor_log(scenario, ERROR_LINE "rknn_outputs_get, the buffer of index %u has %u bytes and needs %zu",
               output->index, output->size, needed);
    return false;
}

static void remember_given(Context *context, void *bytes)
{
    void **grown = realloc(context->given_outputs, (context->given_count + 1) * sizeof *grown);
    if (!grown) {
        complain("out of memory");
        abort();
    }
    context->given_outputs = grown;
    grown[context->given_count++] = bytes;
}

static void get_output(Context *context, rknn_output *output)
{
    rknn_tensor_attr attr = output_attr(context, output->index);
    rknn_tensor_type type = output->want_float ? RKNN_TENSOR_FLOAT32 : attr.type;
    if (!output->is_prealloc) {
        output->size = (uint32_t)type_bytes(type, attr.n_elems);
        output->buf = allocate(output->size, 1);
        remember_given(context, output->buf);
    }
    View to = {output->buf, type, attr.fmt};
    tensor_copy(&attr, to, own_view(&attr, context->outputs[output->index].bytes));
}

static int outputs_get(const Call *call, uint32_t count, rknn_output *outputs, rknn_output_extend *extend)
{
    Context *context = call->context;
    if (!outputs)
        return RKNN_ERR_PARAM_INVALID;
    if (count != context->model->output_count)
        return RKNN_ERR_OUTPUT_INVALID;
    for (uint32_t i = 0; i < count; i++)
        if (!output_is_valid(context, &outputs[i], call->scenario))
            return RKNN_ERR_OUTPUT_INVALID;
    int status = context->is_pending ? run_finish(call->scenario, context, 0) : RKNN_SUCC;
    if (status != RKNN_SUCC)
        return status;
    if (!context->has_run) {
        vendor_log(call->scenario, ERROR_LINE "rknn_outputs_get, there was no run");
        return RKNN_ERR_OUTPUT_INVALID;
    }
    for (uint32_t i = 0; i < count; i++)
        get_output(context, &outputs[i]);
    if (extend)
        extend->frame_id = context->frame;
    return RKNN_SUCC;
}

int rknn_outputs_get(rknn_context context, uint32_t n_outputs, rknn_output outputs[], rknn_output_extend *extend)
{
    Call call;
    if (call_enter(&call, FN_outputs_get, context))
        call.status = outputs_get(&call, n_outputs, outputs, extend);
    return call_leave(&call);
}

static bool release_output(Context *context, const rknn_output *output)
{
    size_t i = 0;
    while (i < context->given_count && context->given_outputs[i] != output->buf)
        i++;
    if (i == context->given_count) {
        complain("output %p of context %llu is released twice or was never given", output->buf,
                 (unsigned long long)context->handle);
        return false;
    }
    memset(output->buf, 0xdd, output->size); /* who reads on sees it */
    free(output->buf);
    context->given_outputs[i] = context->given_outputs[--context->given_count];
    return true;
}

static int outputs_release(Context *context, uint32_t count, const rknn_output *outputs)
{
    if (!outputs)
        return RKNN_ERR_PARAM_INVALID;
    bool valid = true;
    for (uint32_t i = 0; i < count; i++)
        if (!outputs[i].is_prealloc && !release_output(context, &outputs[i]))
            valid = false;
    return valid ? RKNN_SUCC : RKNN_ERR_OUTPUT_INVALID;
}

int rknn_outputs_release(rknn_context context, uint32_t n_ouputs, rknn_output outputs[])
{
    Call call;
    if (call_enter(&call, FN_outputs_release, context))
        call.status = outputs_release(call.context, n_ouputs, outputs);
    return call_leave(&call);
}

/* ---- memories that are bound -------------------------------------------------------------------------------- */

static Slot *find_slot(Context *context, const rknn_tensor_attr *wanted, rknn_tensor_attr *own)
{
    for (uint32_t i = 0; i < context->model->input_count; i++) {
        *own = input_attr(context, i);
        if (strncmp(own->name, wanted->name, RKNN_MAX_NAME_LEN) == 0)
            return &context->inputs[i];
    }
    for (uint32_t i = 0; i < context->model->output_count; i++) {
        *own = output_attr(context, i);
        if (strncmp(own->name, wanted->name, RKNN_MAX_NAME_LEN) == 0)
            return &context->outputs[i];
    }
    return NULL;
}

static int set_io_mem(const Call *call, const rknn_tensor_mem *mem, const rknn_tensor_attr *attr)
{
    rknn_tensor_attr own;
    if (!mem || !attr || !type_is_known(attr->type) || (unsigned)attr->fmt >= RKNN_TENSOR_FORMAT_MAX)
        return RKNN_ERR_PARAM_INVALID;
    Slot *slot = find_slot(call->context, attr, &own);
    if (!slot || !memory_find(FN_set_io_mem, mem))
        return RKNN_ERR_PARAM_INVALID;
    /* A native shape has five dimensions; its order is in fmt all the same. */
    View view = {memory_bytes(mem), attr->type, format_or_own(&own, attr->fmt)};
    if (attr->pass_through)
        view.type = own.type;
    size_t needed = view_bytes(&own, view.type, view.format);
    if (mem->size < needed) {
        vendor_log(call->scenario, ERROR_LINE "rknn_set_io_mem, the memory of %s has %u bytes and needs %zu", own.name,
                   mem->size, needed);
        return RKNN_ERR_PARAM_INVALID;
    }
    slot->memory = mem;
    slot->memory_is_gone = false;
    slot->view = view;
    return RKNN_SUCC;
}

int rknn_set_io_mem(rknn_context ctx, rknn_tensor_mem *mem, rknn_tensor_attr *attr)
{
    Call call;
    if (call_enter(&call, FN_set_io_mem, ctx))
        call.status = set_io_mem(&call, mem, attr);
    return call_leave(&call);
}

static int set_memory(Function function, const rknn_tensor_mem *mem, uint32_t needed, bool *has_memory)
{
    if (!mem || !memory_find(function, mem) || mem->size < needed)
        return RKNN_ERR_PARAM_INVALID;
    *has_memory = true;
    return RKNN_SUCC;
}

int rknn_set_weight_mem(rknn_context ctx, rknn_tensor_mem *mem)
{
    Call call;
    if (call_enter(&call, FN_set_weight_mem, ctx))
        call.status = set_memory(FN_set_weight_mem, mem, call.context->model->weight_bytes,
                                 &call.context->has_weight_memory);
    return call_leave(&call);
}

int rknn_set_internal_mem(rknn_context ctx, rknn_tensor_mem *mem)
{
    Call call;
    if (call_enter(&call, FN_set_internal_mem, ctx))
        call.status = set_memory(FN_set_internal_mem, mem, call.context->model->internal_bytes,
                                 &call.context->has_internal_memory);
    return call_leave(&call);
}

/* ---- shapes ------------------------------------------------------------------------------------------------- */

static bool has_shape(const TensorModel *tensor, size_t shape, const rknn_tensor_attr *wanted)
{
    rknn_tensor_attr attr = tensor_attr(tensor, shape);
    return wanted->n_dims == attr.n_dims && memcmp(wanted->dims, attr.dims, attr.n_dims * sizeof *attr.dims) == 0;
}

static int set_shapes(const Call *call, uint32_t count, const rknn_tensor_attr *attrs)
{
    Context *context = call->context;
    const Model *model = context->model;
    for (uint32_t i = 0; i < count; i++)
        if (attrs[i].index >= model->input_count)
            return RKNN_ERR_INPUT_INVALID;
    for (size_t shape = 0; shape < model->shape_count; shape++) {
        bool fits = true;
        for (uint32_t i = 0; i < count; i++)
            fits = fits && has_shape(&model->inputs[attrs[i].index], shape, &attrs[i]);
        if (!fits)
            continue;
        context->shape = shape;
        slots_reset(context);
        return RKNN_SUCC;
    }
    vendor_log(call->scenario, ERROR_LINE "rknn_set_input_shapes, the shape is none of the model's %u",
               model->shape_count);
    return RKNN_ERR_PARAM_INVALID;
}

int rknn_set_input_shape(rknn_context ctx, rknn_tensor_attr *attr)
{
    Call call;
    if (call_enter(&call, FN_set_input_shape, ctx))
        call.status = attr ? set_shapes(&call, 1, attr) : RKNN_ERR_PARAM_INVALID;
    return call_leave(&call);
}

int rknn_set_input_shapes(rknn_context ctx, uint32_t n_inputs, rknn_tensor_attr attr[])
{
    Call call;
    if (call_enter(&call, FN_set_input_shapes, ctx)) {
        bool valid = attr && n_inputs == call.context->model->input_count;
        call.status = valid ? set_shapes(&call, n_inputs, attr) : RKNN_ERR_PARAM_INVALID;
    }
    return call_leave(&call);
}
