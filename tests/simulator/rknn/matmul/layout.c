/* Element types and where each element lies; exported: B_normal_layout_to_native_layout. */
#include "matmul.h"

#include <stdio.h>
#include <string.h>

const char *const matmul_names[MATRICES] = {"A", "B", "C"};

bool matmul_types(rknn_matmul_type type, Types *types)
{
    static const Types known[] = {
        [RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_FLOAT16, RKNN_TENSOR_FLOAT32}},
        [RKNN_INT8_MM_INT8_TO_INT32] = {{RKNN_TENSOR_INT8, RKNN_TENSOR_INT8, RKNN_TENSOR_INT32}},
        [RKNN_INT8_MM_INT8_TO_INT8] = {{RKNN_TENSOR_INT8, RKNN_TENSOR_INT8, RKNN_TENSOR_INT8}},
        [RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_FLOAT16, RKNN_TENSOR_FLOAT16}},
        [RKNN_FLOAT16_MM_INT8_TO_FLOAT32] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_INT8, RKNN_TENSOR_FLOAT32}},
        [RKNN_FLOAT16_MM_INT8_TO_FLOAT16] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_INT8, RKNN_TENSOR_FLOAT16}},
        [RKNN_FLOAT16_MM_INT4_TO_FLOAT32] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_INT4, RKNN_TENSOR_FLOAT32}},
        [RKNN_FLOAT16_MM_INT4_TO_FLOAT16] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_INT4, RKNN_TENSOR_FLOAT16}},
        [RKNN_INT8_MM_INT8_TO_FLOAT32] = {{RKNN_TENSOR_INT8, RKNN_TENSOR_INT8, RKNN_TENSOR_FLOAT32}},
        [RKNN_INT4_MM_INT4_TO_INT16] = {{RKNN_TENSOR_INT4, RKNN_TENSOR_INT4, RKNN_TENSOR_INT16}},
        [RKNN_INT8_MM_INT4_TO_INT32] = {{RKNN_TENSOR_INT8, RKNN_TENSOR_INT4, RKNN_TENSOR_INT32}},
        [RKNN_FLOAT16_MM_INT4_TO_BFLOAT16] = {{RKNN_TENSOR_FLOAT16, RKNN_TENSOR_INT4, RKNN_TENSOR_BFLOAT16}},
        [RKNN_INT8_MM_INT4_TO_FLOAT16] = {{RKNN_TENSOR_INT8, RKNN_TENSOR_INT4, RKNN_TENSOR_FLOAT16}},
    };
    if ((unsigned)type >= sizeof known / sizeof known[0])
        return false;
    *types = known[type];
    return types->of[A] != types->of[C] || types->of[A] != RKNN_TENSOR_FLOAT32; /* a hole in the table is all 0 */
}

static Tile matmul_tile_of_b(rknn_tensor_type type)
{
    switch (type) {
    case RKNN_TENSOR_INT8:
        return (Tile){32, 32};
    case RKNN_TENSOR_INT4:
        return (Tile){64, 32};
    default:
        return (Tile){16, 32};
    }
}

static uint32_t columns_together(rknn_tensor_type type)
{
    return (uint32_t)(16 * 8 / (8 * type_bytes(type, 2) / 2));
}

Layout matmul_layout_of(const Matmul *matmul, rknn_matmul_shape shape, int matrix)
{
    const rknn_matmul_info *info = &matmul->info;
    Tile tile = matmul_tile_of_b(matmul->types.of[B]);
    uint32_t m = (uint32_t)shape.M, k = (uint32_t)shape.K, n = (uint32_t)shape.N;
    if (matrix == B)
        return (Layout){k, n, tile.k, tile.n, (rknn_matmul_layout)info->B_layout, true};
    uint32_t columns = matrix == A ? k : n, together = columns_together(matmul->types.of[matrix]);
    return (Layout){m, columns, 1, together, (rknn_matmul_layout)info->AC_layout, false};
}

bool matmul_layout_fits(const Layout *layout)
{
    bool is_tiled = layout->layout == RKNN_MM_LAYOUT_NATIVE;
    return !is_tiled || (layout->rows % layout->tile_rows == 0 && layout->columns % layout->tile_columns == 0);
}

size_t matmul_place(const Layout *layout, size_t row, size_t column)
{
    size_t tile = layout->tile_columns, height = layout->tile_rows;
    if (layout->layout == RKNN_MM_LAYOUT_TP_NORM)
        return column * layout->rows + row;
    if (layout->layout == RKNN_MM_LAYOUT_NORM)
        return row * layout->columns + column;
    if (!layout->is_b)
        return (column / tile * layout->rows + row) * tile + column % tile;
    size_t whole = column / tile * (layout->rows / height) + row / height;
    return (whole * tile + column % tile) * height + row % height;
}

static void set_dims(rknn_matmul_tensor_attr *attr, const Layout *layout)
{
    uint32_t r = layout->rows, c = layout->columns, tr = layout->tile_rows, tc = layout->tile_columns;
    const uint32_t tiled_b[] = {c / tc, r / tr, tc, tr}, tiled[] = {c / tc, r, tc}, norm[] = {r, c}, turned[] = {c, r};
    bool is_tiled = layout->layout == RKNN_MM_LAYOUT_NATIVE;
    const uint32_t *dims = is_tiled ? (layout->is_b ? tiled_b : tiled)
                                    : (layout->layout == RKNN_MM_LAYOUT_NORM ? norm : turned);
    attr->n_dims = is_tiled ? (layout->is_b ? 4 : 3) : 2;
    memcpy(attr->dims, dims, attr->n_dims * sizeof *dims);
}

rknn_matmul_tensor_attr matmul_attr(const Matmul *matmul, int shape, int matrix)
{
    rknn_matmul_tensor_attr attr = {.type = matmul->types.of[matrix]};
    Layout layout = matmul_layout_of(matmul, matmul->shapes[shape], matrix);
    snprintf(attr.name, sizeof attr.name, "%s", matmul_names[matrix]);
    set_dims(&attr, &layout);
    attr.size = (uint32_t)type_bytes(attr.type, (size_t)layout.rows * layout.columns);
    return attr;
}

static int to_native(const void *input, void *output, int k, int n, const rknn_matmul_info *info)
{
    Types types;
    if (!input || !output || !info || k <= 0 || n <= 0 || !matmul_types(info->type, &types))
        return RKNN_ERR_PARAM_INVALID;
    Tile tile = matmul_tile_of_b(types.of[B]);
    bool is_turned = info->B_layout == RKNN_MM_LAYOUT_TP_NORM;
    Layout native = {(uint32_t)k, (uint32_t)n, tile.k, tile.n, RKNN_MM_LAYOUT_NATIVE, true};
    Layout normal = native;
    normal.layout = is_turned ? RKNN_MM_LAYOUT_TP_NORM : RKNN_MM_LAYOUT_NORM;
    if (!matmul_layout_fits(&native))
        return RKNN_ERR_PARAM_INVALID;
    for (size_t row = 0; row < native.rows; row++)
        for (size_t column = 0; column < native.columns; column++)
            element_set(types.of[B], output, matmul_place(&native, row, column),
                        element_get(types.of[B], input, matmul_place(&normal, row, column)));
    return RKNN_SUCC;
}

int rknn_B_normal_layout_to_native_layout(void *B_input, void *B_output, int K, int N, rknn_matmul_info *info)
{
    Call call;
    if (call_enter(&call, FN_B_normal_layout_to_native_layout, 0))
        call.status = to_native(B_input, B_output, K, N, info);
    return call_leave(&call);
}
