/* Exported function: matmul_run. C = A x B, exactly. */
#include "matmul.h"

#include <stdlib.h>
#include <string.h>

static double scale_at(const Quantisation *quantisation, size_t place)
{
    if (!quantisation->scale_count)
        return 1;
    return (double)quantisation->scale[quantisation->scale_count > 1 ? place : 0];
}

static int32_t zp_at(const Quantisation *quantisation, size_t place)
{
    if (!quantisation->zp_count)
        return 0;
    return quantisation->zp[quantisation->zp_count > 1 ? place : 0];
}

/* Which of its parameters an element of a matrix has: that of its column, or of its column in its group. */
static size_t parameter_of(const Matmul *matmul, int matrix, size_t row, size_t column)
{
    bool is_grouped = matrix == B && matmul_has_groups(&matmul->info);
    return is_grouped ? row / (size_t)matmul->info.group_size * matmul->quantisation[B].columns + column : column;
}

static bool holds_sums(const Matmul *matmul)
{
    return matmul->types.of[C] == RKNN_TENSOR_INT32 || matmul->types.of[C] == RKNN_TENSOR_INT16;
}

/* A matrix row by row, as numbers without their zero point: both fit a float exactly. The groups of B have scales of
 * their own, which apply here. */
static float *unpack(const Matmul *matmul, int matrix)
{
    Layout layout = matmul_layout_of(matmul, matmul->shapes[matmul->shape], matrix);
    const Quantisation *quantisation = &matmul->quantisation[matrix];
    const void *bytes = memory_bytes(matmul->memories[matrix]);
    bool is_scaled = matrix == B && matmul_has_groups(&matmul->info) && !holds_sums(matmul);
    float *numbers = allocate((size_t)layout.rows * layout.columns, sizeof *numbers), *next = numbers;
    for (size_t row = 0; row < layout.rows; row++)
        for (size_t column = 0; column < layout.columns; column++) {
            size_t parameter = parameter_of(matmul, matrix, row, column);
            double number = element_get(matmul->types.of[matrix], bytes, matmul_place(&layout, row, column)) -
                            zp_at(quantisation, parameter);
            *next++ = (float)(is_scaled ? number * scale_at(quantisation, parameter) : number);
        }
    return numbers;
}

/* Scales apply unless C holds the whole sums themselves. */
static double result(const Matmul *matmul, double sum, size_t column)
{
    rknn_tensor_type type = matmul->types.of[C];
    const Quantisation *quantisation = matmul->quantisation;
    if (holds_sums(matmul))
        return sum;
    sum *= scale_at(&quantisation[A], 0) * (matmul_has_groups(&matmul->info) ? 1 : scale_at(&quantisation[B], column));
    return type == RKNN_TENSOR_INT8 ? sum / scale_at(&quantisation[C], column) + zp_at(&quantisation[C], column) : sum;
}

/* Sums in double: exact for integers, and of floats more exact than the NPU's. */
static void multiply(const Matmul *matmul)
{
    rknn_matmul_shape shape = matmul->shapes[matmul->shape];
    size_t m = (size_t)shape.M, k = (size_t)shape.K, n = (size_t)shape.N;
    Layout layout = matmul_layout_of(matmul, shape, C);
    void *target = memory_bytes(matmul->memories[C]);
    float *a = unpack(matmul, A), *b = unpack(matmul, B);
    double *sums = allocate(n, sizeof *sums);
    for (size_t row = 0; row < m; row++) {
        memset(sums, 0, n * sizeof *sums);
        for (size_t inner = 0; inner < k; inner++)
            for (size_t column = 0; column < n; column++)
                sums[column] += (double)a[row * k + inner] * (double)b[inner * n + column];
        for (size_t column = 0; column < n; column++)
            element_set(matmul->types.of[C], target, matmul_place(&layout, row, column), result(matmul, sums[column], column));
    }
    free(a);
    free(b);
    free(sums);
}

static int run(const Call *call)
{
    const Matmul *matmul = call->context->matmul;
    const Context *pending = context_pending();
    if (pending)
        complain("overlap: rknn_matmul_run was called while the run of context %llu has not been waited for",
                 (unsigned long long)pending->handle);
    if (matmul->memory_is_gone)
        complain("a memory that was bound to matmul context %llu is destroyed",
                 (unsigned long long)call->context->handle);
    for (int matrix = 0; matrix < MATRICES; matrix++)
        if (!matmul->memories[matrix]) {
            vendor_log(call->scenario, ERROR_LINE "rknn_matmul_run, matrix %s was not set", matmul_names[matrix]);
            return RKNN_ERR_PARAM_INVALID;
        }
    if (call->scenario->run_us)
        sleep_until(now_ns() + call->scenario->run_us * 1000);
    multiply(matmul);
    return RKNN_SUCC;
}

int rknn_matmul_run(rknn_matmul_ctx ctx)
{
    Call call;
    if (call_enter(&call, FN_matmul_run, ctx))
        call.status = run(&call);
    else if (call.action == ACTION_FAIL)
        say_submit_failed(call.scenario, "MatMul");
    return call_leave(&call);
}
