/* An operator as an application brings it, in a library of its own: "Scale" multiplies by its attribute "factor" (a
 * float32, 2 unless the node has it). Built by build_operator in ../build.py. */
#include "rknn.h"

#include <stdbool.h>
#include <stdlib.h>

typedef struct {
    float factor;
} Scale;

/* init asks for the attribute once and keeps it where the other callbacks find it. */
static int scale_init(rknn_custom_op_context *context, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
                      rknn_custom_op_tensor *outputs, uint32_t n_outputs)
{
    (void)inputs;
    (void)outputs;
    Scale *scale = malloc(sizeof *scale);
    if (!scale || n_inputs != 1 || n_outputs != 1) {
        free(scale);
        return RKNN_ERR_PARAM_INVALID;
    }
    rknn_custom_op_attr attribute;
    rknn_custom_op_get_op_attr(context, "factor", &attribute);
    bool has_factor = attribute.n_elems == 1 && attribute.dtype == RKNN_TENSOR_FLOAT32;
    scale->factor = has_factor ? *(const float *)attribute.data : 2;
    context->priv_data = scale;
    return RKNN_SUCC;
}

static int scale_compute(rknn_custom_op_context *context, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
                         rknn_custom_op_tensor *outputs, uint32_t n_outputs)
{
    (void)n_inputs;
    (void)n_outputs;
    const Scale *scale = context->priv_data;
    const float *input = (const float *)((char *)inputs[0].mem.virt_addr + inputs[0].mem.offset);
    float *output = (float *)((char *)outputs[0].mem.virt_addr + outputs[0].mem.offset);
    for (uint32_t i = 0; i < inputs[0].attr.n_elems; i++)
        output[i] = input[i] * scale->factor;
    return RKNN_SUCC;
}

static int scale_destroy(rknn_custom_op_context *context)
{
    free(context->priv_data);
    context->priv_data = NULL;
    return RKNN_SUCC;
}

/* The name that a plug-in has to export. */
__attribute__((visibility("default"))) rknn_custom_op *get_rknn_custom_op(void)
{
    static rknn_custom_op scale = {
        .version = 1,
        .target = RKNN_TARGET_TYPE_CPU,
        .op_type = "Scale",
        .init = scale_init,
        .compute = scale_compute,
        .destroy = scale_destroy,
    };
    return &scale;
}
