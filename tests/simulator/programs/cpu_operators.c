/* A program in the shape of the vendor's example for operators that run on the processor: a softmax over the axis that
 * the node names, and one with two inputs and two outputs. It prints the outputs.
 *
 *   cpu_operators MODEL */
#include "rknn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *bytes_of(const rknn_custom_op_tensor *tensor)
{
    return (unsigned char *)tensor->mem.virt_addr + tensor->mem.offset;
}

static int softmax_init(rknn_custom_op_context *context, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
                        rknn_custom_op_tensor *outputs, uint32_t n_outputs)
{
    (void)inputs;
    (void)outputs;
    printf("init of %u inputs and %u outputs\n", n_inputs, n_outputs);
    float **buffer = malloc(2 * sizeof *buffer);
    buffer[0] = malloc(inputs[0].attr.n_elems * sizeof(float));
    buffer[1] = malloc(outputs[0].attr.n_elems * sizeof(float));
    context->priv_data = buffer;
    return 0;
}

static int softmax_compute(rknn_custom_op_context *context, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
                           rknn_custom_op_tensor *outputs, uint32_t n_outputs)
{
    (void)n_inputs;
    (void)n_outputs;
    const float *from = bytes_of(&inputs[0]);
    float *to = bytes_of(&outputs[0]), *exponents = ((float **)context->priv_data)[0];
    rknn_custom_op_attr attribute;
    rknn_custom_op_get_op_attr(context, "axis", &attribute); /* asked for at each run, as the example does */
    if (attribute.n_elems != 1 || attribute.dtype != RKNN_TENSOR_INT64)
        return -1;
    int64_t axis = *(const int64_t *)attribute.data;
    if (axis != -1 && axis != (int64_t)inputs[0].attr.n_dims - 1)
        return -1;
    uint32_t width = inputs[0].attr.dims[inputs[0].attr.n_dims - 1];
    for (uint32_t row = 0; row < inputs[0].attr.n_elems / width; row++) {
        const float *start = from + row * width;
        float greatest = start[0], sum = 0;
        for (uint32_t i = 0; i < width; i++)
            greatest = fmaxf(greatest, start[i]);
        for (uint32_t i = 0; i < width; i++)
            sum += exponents[i] = expf(start[i] - greatest);
        for (uint32_t i = 0; i < width; i++)
            to[row * width + i] = exponents[i] / sum;
    }
    return 0;
}

static int softmax_destroy(rknn_custom_op_context *context)
{
    float **buffer = context->priv_data;
    free(buffer[0]);
    free(buffer[1]);
    free(buffer);
    return 0;
}

/* The greatest of both inputs, element by element, as float32, and which of them that is, as int64. */
static int greatest_compute(rknn_custom_op_context *context, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
                            rknn_custom_op_tensor *outputs, uint32_t n_outputs)
{
    (void)context;
    if (n_inputs != 2 || n_outputs != 2 || outputs[1].attr.type != RKNN_TENSOR_INT64)
        return -1;
    const float *first = bytes_of(&inputs[0]), *second = bytes_of(&inputs[1]);
    float *value = bytes_of(&outputs[0]);
    int64_t *which = bytes_of(&outputs[1]);
    for (uint32_t i = 0; i < inputs[0].attr.n_elems; i++) {
        which[i] = second[i] > first[i];
        value[i] = which[i] ? second[i] : first[i];
    }
    return 0;
}

static void check(const char *what, int status)
{
    if (status == RKNN_SUCC)
        return;
    fprintf(stderr, "%s fails: %d\n", what, status);
    exit(1);
}

static void set_inputs(rknn_context ctx, uint32_t count)
{
    float values[2][4] = {{1, 2, 3, 4}, {4, 2, 0, 8}};
    rknn_input inputs[2];
    memset(inputs, 0, sizeof inputs);
    for (uint32_t i = 0; i < count; i++)
        inputs[i] = (rknn_input){.index = i, .buf = values[i], .size = sizeof values[i], .type = RKNN_TENSOR_FLOAT32};
    check("rknn_inputs_set", rknn_inputs_set(ctx, count, inputs));
}

static void print_outputs(rknn_context ctx, uint32_t count)
{
    rknn_output outputs[3];
    memset(outputs, 0, sizeof outputs);
    for (uint32_t i = 0; i < count; i++) {
        outputs[i].index = i;
        outputs[i].want_float = 1;
    }
    check("rknn_outputs_get", rknn_outputs_get(ctx, count, outputs, NULL));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < outputs[i].size / sizeof(float); k++)
            printf("%s%.3f", k ? " " : "", ((const float *)outputs[i].buf)[k]);
        printf("\n");
    }
    check("rknn_outputs_release", rknn_outputs_release(ctx, count, outputs));
}

int main(int argc, char **argv)
{
    (void)argc;
    rknn_context ctx;
    check("rknn_init", rknn_init(&ctx, argv[1], 0, 0, NULL));
    rknn_input_output_num number;
    check("rknn_query", rknn_query(ctx, RKNN_QUERY_IN_OUT_NUM, &number, sizeof number));
    /* The flag was not given: there are no details, and asking is no error. */
    rknn_perf_detail detail = {0};
    check("rknn_query of PERF_DETAIL", rknn_query(ctx, RKNN_QUERY_PERF_DETAIL, &detail, sizeof detail));
    printf("details: \"%s\" %llu\n", detail.perf_data, (unsigned long long)detail.data_len);

    rknn_custom_op operators[2];
    memset(operators, 0, sizeof operators);
    strncpy(operators[0].op_type, "cstSoftmax", RKNN_MAX_NAME_LEN - 1);
    operators[0].version = 1;
    operators[0].target = RKNN_TARGET_TYPE_CPU;
    operators[0].init = softmax_init;
    operators[0].compute = softmax_compute;
    operators[0].destroy = softmax_destroy;
    strncpy(operators[1].op_type, "Greatest", RKNN_MAX_NAME_LEN - 1);
    operators[1].version = 1;
    operators[1].target = RKNN_TARGET_TYPE_CPU;
    operators[1].compute = greatest_compute;
    check("rknn_register_custom_ops", rknn_register_custom_ops(ctx, operators, 2));

    set_inputs(ctx, number.n_input);
    check("rknn_run", rknn_run(ctx, NULL));
    print_outputs(ctx, number.n_output);
    check("rknn_query of PERF_DETAIL", rknn_query(ctx, RKNN_QUERY_PERF_DETAIL, &detail, sizeof detail));
    printf("details: \"%s\" %llu\n", detail.perf_data, (unsigned long long)detail.data_len);
    check("rknn_destroy", rknn_destroy(ctx));
    return 0;
}
