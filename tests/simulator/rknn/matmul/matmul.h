/* What the files of matrix multiplication share. */
#ifndef RKNN_SIMULATOR_MATMUL_H
#define RKNN_SIMULATOR_MATMUL_H

#include "rknn/rknn_simulator.h"

enum { A, B, C, MATRICES };

extern const char *const matmul_names[MATRICES];

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

/* How an RK3588 lays a matrix out: tiles of `rows` x `columns`. For A and C they are columns of the whole matrix,
 * [columns / n][rows][n]; for B, tiles of n columns by k rows, each column whole: [N / n][K / k][n][k]. */
typedef struct {
    uint32_t n, k;
} Tile;

typedef struct {
    uint32_t rows, columns, tile_rows, tile_columns;
    rknn_matmul_layout layout;
    bool is_b;
} Layout;

bool matmul_types(rknn_matmul_type type, Types *types); /* false: there is no such type */
Layout matmul_layout_of(const Matmul *matmul, rknn_matmul_shape shape, int matrix);
bool matmul_layout_fits(const Layout *layout); /* the tiles fill the matrix */
size_t matmul_place(const Layout *layout, size_t row, size_t column);
rknn_matmul_tensor_attr matmul_attr(const Matmul *matmul, int shape, int matrix);

static inline bool matmul_has_groups(const rknn_matmul_info *info)
{
    return info->B_quant_type >= RKNN_QUANT_TYPE_PER_GROUP_SYM;
}

#endif
