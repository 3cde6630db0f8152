/* Exported functions: matmul_set_*, matmul_get_quant_params. */
#include "matmul.h"

#include <stdlib.h>
#include <string.h>

static int find_matrix(const char *name)
{
    int matrix = 0;
    while (matrix < MATRICES && strncmp(name, matmul_names[matrix], RKNN_MAX_NAME_LEN) != 0)
        matrix++;
    return matrix;
}

static int set_io_mem(const Call *call, const rknn_tensor_mem *mem, const rknn_matmul_tensor_attr *attr)
{
    Matmul *matmul = call->context->matmul;
    int matrix = attr ? find_matrix(attr->name) : MATRICES;
    if (!mem || matrix == MATRICES || !memory_find(FN_matmul_set_io_mem, mem))
        return RKNN_ERR_PARAM_INVALID;
    rknn_matmul_tensor_attr own = matmul_attr(matmul, matmul->shape, matrix);
    if (attr->type != own.type || attr->size != own.size || mem->size < own.size) {
        vendor_log(call->scenario, ERROR_LINE "rknn_matmul_set_io_mem, the memory of %s has %u bytes and needs %u",
                   own.name, mem->size, own.size);
        return RKNN_ERR_PARAM_INVALID;
    }
    matmul->memories[matrix] = mem;
    matmul->memory_is_gone = false;
    return RKNN_SUCC;
}

int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem *mem, rknn_matmul_tensor_attr *attr)
{
    Call call;
    if (call_enter(&call, FN_matmul_set_io_mem, ctx))
        call.status = set_io_mem(&call, mem, attr);
    return call_leave(&call);
}

static void *copy_array(const void *array, int32_t count, size_t size)
{
    if (!array || count <= 0)
        return NULL;
    return memcpy(allocate((size_t)count, size), array, (size_t)count * size);
}

static bool is_count_of(const Matmul *matmul, int matrix, int32_t count, int32_t k, int32_t n)
{
    return count == (matrix == B && matmul_has_groups(&matmul->info) ? k / matmul->info.group_size : 1) * n;
}

/* One value for the whole matrix, or one for each column, which only B and C have, or one for each column of each group
 * of rows, which only B has: of the shape in force, of any other, or, as in the vendor's example, of the greatest K and
 * the greatest N that there are. Returns how many columns they are for, or 0. */
static int32_t columns_of(const Matmul *matmul, int matrix, int32_t count)
{
    rknn_matmul_shape greatest = matmul->shapes[matmul->shape];
    if (count == 0 || count == 1 || (matrix != A && is_count_of(matmul, matrix, count, greatest.K, greatest.N)))
        return greatest.N;
    for (int i = 0; i < matmul->shape_count && matrix != A; i++) {
        rknn_matmul_shape shape = matmul->shapes[i];
        if (is_count_of(matmul, matrix, count, shape.K, shape.N))
            return shape.N;
        greatest.K = shape.K > greatest.K ? shape.K : greatest.K;
        greatest.N = shape.N > greatest.N ? shape.N : greatest.N;
    }
    return matrix != A && is_count_of(matmul, matrix, count, greatest.K, greatest.N) ? greatest.N : 0;
}

static int set_quant_params(Matmul *matmul, const rknn_quant_params *params)
{
    int matrix = params ? find_matrix(params->name) : MATRICES;
    if (matrix == MATRICES || !columns_of(matmul, matrix, params->scale_len) ||
        !columns_of(matmul, matrix, params->zp_len) || (params->scale_len && !params->scale) ||
        (params->zp_len && !params->zp))
        return RKNN_ERR_PARAM_INVALID;
    Quantisation *quantisation = &matmul->quantisation[matrix];
    free(quantisation->scale);
    free(quantisation->zp);
    *quantisation = (Quantisation){copy_array(params->scale, params->scale_len, sizeof(float)),
                                   copy_array(params->zp, params->zp_len, sizeof(int32_t)), params->scale_len,
                                   params->zp_len, (size_t)columns_of(matmul, matrix, params->scale_len)};
    return RKNN_SUCC;
}

int rknn_matmul_set_quant_params(rknn_matmul_ctx context, rknn_quant_params *params)
{
    Call call;
    if (call_enter(&call, FN_matmul_set_quant_params, context))
        call.status = set_quant_params(call.context->matmul, params);
    return call_leave(&call);
}

/* The arrays stay the library's; *scale is the mean of the scales. */
static int get_quant_params(const Matmul *matmul, rknn_quant_params *params, float *scale)
{
    int matrix = params ? find_matrix(params->name) : MATRICES;
    if (matrix == MATRICES || !scale)
        return RKNN_ERR_PARAM_INVALID;
    const Quantisation *quantisation = &matmul->quantisation[matrix];
    double sum = 0;
    for (int32_t i = 0; i < quantisation->scale_count; i++)
        sum += (double)quantisation->scale[i];
    *scale = quantisation->scale_count ? (float)(sum / quantisation->scale_count) : 1;
    params->scale = quantisation->scale;
    params->scale_len = quantisation->scale_count;
    params->zp = quantisation->zp;
    params->zp_len = quantisation->zp_count;
    return RKNN_SUCC;
}

int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params *params, float *scale)
{
    Call call;
    if (call_enter(&call, FN_matmul_get_quant_params, ctx))
        call.status = get_quant_params(call.context->matmul, params, scale);
    return call_leave(&call);
}

/* A and C have to be set for each shape. B is set once where its K and N are those of all shapes, says the vendor's
 * example. */
static int set_dynamic_shape(Matmul *matmul, const rknn_matmul_shape *shape)
{
    for (int i = 0; shape && i < matmul->shape_count; i++)
        if (memcmp(&matmul->shapes[i], shape, sizeof *shape) == 0) {
            const rknn_matmul_shape *before = &matmul->shapes[matmul->shape];
            matmul->memories[A] = matmul->memories[C] = NULL;
            if (before->K != shape->K || before->N != shape->N)
                matmul->memories[B] = NULL;
            matmul->shape = i;
            return RKNN_SUCC;
        }
    return RKNN_ERR_PARAM_INVALID;
}

int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape *shape)
{
    Call call;
    if (call_enter(&call, FN_matmul_set_dynamic_shape, ctx))
        call.status = set_dynamic_shape(call.context->matmul, shape);
    return call_leave(&call);
}
