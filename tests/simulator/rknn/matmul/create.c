/* Exported functions: matmul_create, matmul_create_dynamic_shape. */
#include "matmul.h"

#include <stdlib.h>
#include <string.h>

void matmul_free(Matmul *matmul)
{
    for (int matrix = 0; matrix < MATRICES; matrix++) {
        free(matmul->quantisation[matrix].scale);
        free(matmul->quantisation[matrix].zp);
    }
    free(matmul->shapes);
    free(matmul);
}

void matmul_forget_memory(Matmul *matmul, const rknn_tensor_mem *memory)
{
    for (int matrix = 0; matrix < MATRICES; matrix++)
        if (matmul->memories[matrix] == memory) {
            matmul->memories[matrix] = NULL;
            matmul->memory_is_gone = true;
        }
}

static bool shape_is_valid(const Matmul *matmul, rknn_matmul_shape shape)
{
    if (shape.M <= 0 || shape.K <= 0 || shape.N <= 0)
        return false;
    for (int matrix = 0; matrix < MATRICES; matrix++) {
        Layout layout = matmul_layout_of(matmul, shape, matrix);
        if (!matmul_layout_fits(&layout) || (uint64_t)layout.rows * layout.columns > UINT32_MAX / 4)
            return false;
    }
    return true;
}

static bool info_is_valid(const rknn_matmul_info *info, Types *types)
{
    bool layouts = info->B_layout >= RKNN_MM_LAYOUT_NORM && info->B_layout <= RKNN_MM_LAYOUT_TP_NORM &&
                   info->AC_layout >= RKNN_MM_LAYOUT_NORM && info->AC_layout <= RKNN_MM_LAYOUT_NATIVE;
    bool quantisations = info->B_quant_type >= 0 && info->B_quant_type <= RKNN_QUANT_TYPE_PER_GROUP_ASYM &&
                         (!matmul_has_groups(info) || info->group_size > 0) && info->AC_quant_type >= 0 &&
                         info->AC_quant_type < RKNN_QUANT_TYPE_PER_GROUP_SYM;
    return layouts && quantisations && matmul_types(info->type, types);
}

static int create(rknn_matmul_ctx *handle, const rknn_matmul_info *info, int count, const rknn_matmul_shape *shapes,
                  rknn_matmul_io_attr *attrs)
{
    Types types;
    if (!handle || !info || !attrs || !shapes || count < 1 || !info_is_valid(info, &types))
        return RKNN_ERR_PARAM_INVALID;
    Matmul *matmul = allocate(1, sizeof *matmul);
    *matmul = (Matmul){.info = *info, .types = types, .shape_count = count};
    matmul->shapes = allocate((size_t)count, sizeof *shapes);
    memcpy(matmul->shapes, shapes, (size_t)count * sizeof *shapes);
    for (int i = 0; i < count; i++) {
        if (!shape_is_valid(matmul, shapes[i])) {
            matmul_free(matmul);
            return RKNN_ERR_PARAM_INVALID;
        }
        attrs[i] = (rknn_matmul_io_attr){matmul_attr(matmul, i, A), matmul_attr(matmul, i, B), matmul_attr(matmul, i, C)};
    }
    Context *context = context_create();
    context->matmul = matmul;
    *handle = context->handle;
    return RKNN_SUCC;
}

int rknn_matmul_create(rknn_matmul_ctx *ctx, rknn_matmul_info *info, rknn_matmul_io_attr *io_attr)
{
    Call call;
    if (call_enter(&call, FN_matmul_create, 0)) {
        rknn_matmul_shape shape = info ? (rknn_matmul_shape){info->M, info->K, info->N} : (rknn_matmul_shape){0};
        call.status = create(ctx, info, 1, &shape, io_attr);
        trace_live();
    }
    return call_leave(&call);
}

int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx *ctx, rknn_matmul_info *info, int shape_num,
                                     rknn_matmul_shape dynamic_shapes[], rknn_matmul_io_attr io_attrs[])
{
    Call call;
    if (call_enter(&call, FN_matmul_create_dynamic_shape, 0)) {
        call.status = create(ctx, info, shape_num, dynamic_shapes, io_attrs);
        trace_live();
    }
    return call_leave(&call);
}
