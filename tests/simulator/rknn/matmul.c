/* The exported functions for matrix multiplication: C = A x B, exactly. */
#include "rknn_simulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, C, MATRICES };

static const char *const names[MATRICES] = {"A", "B", "C"};

typedef struct {
    rknn_tensor_type of[MATRICES];
} Types;

typedef struct {
    float *scale;
    int32_t *zp;
    int32_t scale_count, zp_count;
    size_t columns; /* of the shape that they were given for */
} Quantisation;

struct Matmul {
    rknn_matmul_info info;
    Types types;
    rknn_matmul_shape *shapes;
    int shape_count, shape;
    const rknn_tensor_mem *memories[MATRICES];
    bool memory_is_gone;
    Quantisation quantisation[MATRICES];
};

/* ---- types and layouts -------------------------------------------------------------------------------------- */

static bool types_of(rknn_matmul_type type, Types *types)
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

/* How an RK3588 lays a matrix out: tiles of `rows` x `columns`. For A and C they are columns of the whole matrix,
 * [columns / n][rows][n]; for B, tiles of n columns by k rows, each column whole: [N / n][K / k][n][k]. */
typedef struct {
    uint32_t n, k;
} Tile;

static Tile tile_of_b(rknn_tensor_type type)
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

typedef struct {
    uint32_t rows, columns, tile_rows, tile_columns;
    rknn_matmul_layout layout;
    bool is_b;
} Layout;

static Layout layout_of(const Matmul *matmul, rknn_matmul_shape shape, int matrix)
{
    const rknn_matmul_info *info = &matmul->info;
    Tile tile = tile_of_b(matmul->types.of[B]);
    uint32_t m = (uint32_t)shape.M, k = (uint32_t)shape.K, n = (uint32_t)shape.N;
    if (matrix == B)
        return (Layout){k, n, tile.k, tile.n, (rknn_matmul_layout)info->B_layout, true};
    uint32_t columns = matrix == A ? k : n, together = columns_together(matmul->types.of[matrix]);
    return (Layout){m, columns, 1, together, (rknn_matmul_layout)info->AC_layout, false};
}

static bool layout_fits(const Layout *layout)
{
    bool is_tiled = layout->layout == RKNN_MM_LAYOUT_NATIVE;
    return !is_tiled || (layout->rows % layout->tile_rows == 0 && layout->columns % layout->tile_columns == 0);
}

static size_t place(const Layout *layout, size_t row, size_t column)
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

/* ---- attributes --------------------------------------------------------------------------------------------- */

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

static rknn_matmul_tensor_attr attr_of(const Matmul *matmul, int shape, int matrix)
{
    rknn_matmul_tensor_attr attr = {.type = matmul->types.of[matrix]};
    Layout layout = layout_of(matmul, matmul->shapes[shape], matrix);
    snprintf(attr.name, sizeof attr.name, "%s", names[matrix]);
    set_dims(&attr, &layout);
    attr.size = (uint32_t)type_bytes(attr.type, (size_t)layout.rows * layout.columns);
    return attr;
}

/* ---- create ------------------------------------------------------------------------------------------------- */

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
        Layout layout = layout_of(matmul, shape, matrix);
        if (!layout_fits(&layout) || (uint64_t)layout.rows * layout.columns > UINT32_MAX / 4)
            return false;
    }
    return true;
}

static bool has_groups(const rknn_matmul_info *info)
{
    return info->B_quant_type >= RKNN_QUANT_TYPE_PER_GROUP_SYM;
}

static bool info_is_valid(const rknn_matmul_info *info, Types *types)
{
    bool layouts = info->B_layout >= RKNN_MM_LAYOUT_NORM && info->B_layout <= RKNN_MM_LAYOUT_TP_NORM &&
                   info->AC_layout >= RKNN_MM_LAYOUT_NORM && info->AC_layout <= RKNN_MM_LAYOUT_NATIVE;
    bool quantisations = info->B_quant_type >= 0 && info->B_quant_type <= RKNN_QUANT_TYPE_PER_GROUP_ASYM &&
                         (!has_groups(info) || info->group_size > 0) && info->AC_quant_type >= 0 &&
                         info->AC_quant_type < RKNN_QUANT_TYPE_PER_GROUP_SYM;
    return layouts && quantisations && types_of(info->type, types);
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
        attrs[i] = (rknn_matmul_io_attr){attr_of(matmul, i, A), attr_of(matmul, i, B), attr_of(matmul, i, C)};
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

/* ---- settings ----------------------------------------------------------------------------------------------- */

static int find_matrix(const char *name)
{
    int matrix = 0;
    while (matrix < MATRICES && strncmp(name, names[matrix], RKNN_MAX_NAME_LEN) != 0)
        matrix++;
    return matrix;
}

static int set_io_mem(const Call *call, const rknn_tensor_mem *mem, const rknn_matmul_tensor_attr *attr)
{
    Matmul *matmul = call->context->matmul;
    int matrix = attr ? find_matrix(attr->name) : MATRICES;
    if (!mem || matrix == MATRICES || !memory_find(FN_matmul_set_io_mem, mem))
        return RKNN_ERR_PARAM_INVALID;
    rknn_matmul_tensor_attr own = attr_of(matmul, matmul->shape, matrix);
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
    return count == (matrix == B && has_groups(&matmul->info) ? k / matmul->info.group_size : 1) * n;
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

/* ---- run ---------------------------------------------------------------------------------------------------- */

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
    bool is_grouped = matrix == B && has_groups(&matmul->info);
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
    Layout layout = layout_of(matmul, matmul->shapes[matmul->shape], matrix);
    const Quantisation *quantisation = &matmul->quantisation[matrix];
    const void *bytes = memory_bytes(matmul->memories[matrix]);
    bool is_scaled = matrix == B && has_groups(&matmul->info) && !holds_sums(matmul);
    float *numbers = allocate((size_t)layout.rows * layout.columns, sizeof *numbers), *next = numbers;
    for (size_t row = 0; row < layout.rows; row++)
        for (size_t column = 0; column < layout.columns; column++) {
            size_t parameter = parameter_of(matmul, matrix, row, column);
            double number = element_get(matmul->types.of[matrix], bytes, place(&layout, row, column)) -
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
    sum *= scale_at(&quantisation[A], 0) * (has_groups(&matmul->info) ? 1 : scale_at(&quantisation[B], column));
    return type == RKNN_TENSOR_INT8 ? sum / scale_at(&quantisation[C], column) + zp_at(&quantisation[C], column) : sum;
}

/* Sums in double: exact for integers, and of floats more exact than the NPU's. */
static void multiply(const Matmul *matmul)
{
    rknn_matmul_shape shape = matmul->shapes[matmul->shape];
    size_t m = (size_t)shape.M, k = (size_t)shape.K, n = (size_t)shape.N;
    Layout layout = layout_of(matmul, shape, C);
    void *target = memory_bytes(matmul->memories[C]);
    float *a = unpack(matmul, A), *b = unpack(matmul, B);
    double *sums = allocate(n, sizeof *sums);
    for (size_t row = 0; row < m; row++) {
        memset(sums, 0, n * sizeof *sums);
        for (size_t inner = 0; inner < k; inner++)
            for (size_t column = 0; column < n; column++)
                sums[column] += (double)a[row * k + inner] * (double)b[inner * n + column];
        for (size_t column = 0; column < n; column++)
            element_set(matmul->types.of[C], target, place(&layout, row, column), result(matmul, sums[column], column));
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
            vendor_log(call->scenario, ERROR_LINE "rknn_matmul_run, matrix %s was not set", names[matrix]);
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

/* ---- layouts ------------------------------------------------------------------------------------------------ */

static int to_native(const void *input, void *output, int k, int n, const rknn_matmul_info *info)
{
    Types types;
    if (!input || !output || !info || k <= 0 || n <= 0 || !types_of(info->type, &types))
        return RKNN_ERR_PARAM_INVALID;
    Tile tile = tile_of_b(types.of[B]);
    bool is_turned = info->B_layout == RKNN_MM_LAYOUT_TP_NORM;
    Layout native = {(uint32_t)k, (uint32_t)n, tile.k, tile.n, RKNN_MM_LAYOUT_NATIVE, true};
    Layout normal = native;
    normal.layout = is_turned ? RKNN_MM_LAYOUT_TP_NORM : RKNN_MM_LAYOUT_NORM;
    if (!layout_fits(&native))
        return RKNN_ERR_PARAM_INVALID;
    for (size_t row = 0; row < native.rows; row++)
        for (size_t column = 0; column < native.columns; column++)
            element_set(types.of[B], output, place(&native, row, column),
                        element_get(types.of[B], input, place(&normal, row, column)));
    return RKNN_SUCC;
}

int rknn_B_normal_layout_to_native_layout(void *B_input, void *B_output, int K, int N, rknn_matmul_info *info)
{
    Call call;
    if (call_enter(&call, FN_B_normal_layout_to_native_layout, 0))
        call.status = to_native(B_input, B_output, K, N, info);
    return call_leave(&call);
}
