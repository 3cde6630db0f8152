/* A program in the shape of the vendor's example for matrices of several shapes: memories of the greatest sizes, B set
 * once where all shapes share it, A and C for each shape. Prints "ok" for each shape whose product is exact.
 *
 *   dynamic_matmul TYPE B_LAYOUT M,K,N M,K,N ... */
#include "rknn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHAPES = 16, GROUP = 32 };

static const float SCALE = 0.125f;

static void fail(const char *what, int status)
{
    fprintf(stderr, "%s fails: %d\n", what, status);
    exit(1);
}

static void check(const char *what, int status)
{
    if (status != RKNN_SUCC)
        fail(what, status);
}

static uint32_t greater(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static int is_dequantised(rknn_matmul_type type)
{
    return type == RKNN_INT8_MM_INT8_TO_FLOAT32;
}

static void set_scales(rknn_matmul_ctx ctx, const rknn_matmul_info *info, const rknn_matmul_io_attr *attr)
{
    rknn_quant_params params = {.scale_len = info->N * (info->K / GROUP)};
    memcpy(params.name, attr->B.name, RKNN_MAX_NAME_LEN);
    params.scale = malloc((size_t)params.scale_len * sizeof(float));
    for (int i = 0; i < params.scale_len; i++)
        params.scale[i] = SCALE;
    check("rknn_matmul_set_quant_params", rknn_matmul_set_quant_params(ctx, &params));
    free(params.scale); /* the runtime has a copy */
}

/* B [K, N] of this shape as its layout wants it. */
static void write_b(rknn_tensor_mem *memory, const signed char *b, rknn_matmul_shape shape, rknn_matmul_info *info)
{
    signed char *target = (signed char *)memory->virt_addr + memory->offset;
    if (info->B_layout == RKNN_MM_LAYOUT_NATIVE) {
        check("rknn_B_normal_layout_to_native_layout",
              rknn_B_normal_layout_to_native_layout((void *)(uintptr_t)b, target, shape.K, shape.N, info));
        return;
    }
    for (int k = 0; k < shape.K; k++)
        for (int n = 0; n < shape.N; n++)
            target[info->B_layout == RKNN_MM_LAYOUT_TP_NORM ? n * shape.K + k : k * shape.N + n] = b[k * shape.N + n];
}

static int is_exact(const rknn_tensor_mem *memory, const signed char *a, const signed char *b, rknn_matmul_shape shape,
                    rknn_matmul_type type)
{
    const char *c = (const char *)memory->virt_addr + memory->offset;
    for (int m = 0; m < shape.M; m++)
        for (int n = 0; n < shape.N; n++) {
            int sum = 0;
            for (int k = 0; k < shape.K; k++)
                sum += a[m * shape.K + k] * b[k * shape.N + n];
            int place = m * shape.N + n;
            if (is_dequantised(type) ? fabsf(((const float *)c)[place] - (float)sum * SCALE) > 1e-3f
                                     : ((const int *)c)[place] != sum)
                return 0;
        }
    return 1;
}

static signed char *numbers(size_t count, int seed)
{
    signed char *made = malloc(count);
    for (size_t i = 0; i < count; i++)
        made[i] = (signed char)((i * 37 + (size_t)seed) % 15) - 7;
    return made;
}

int main(int argc, char **argv)
{
    rknn_matmul_shape shapes[MOST_SHAPES];
    rknn_matmul_io_attr attrs[MOST_SHAPES];
    int count = argc - 3;
    rknn_matmul_info info = {.type = (rknn_matmul_type)atoi(argv[1]), .B_layout = (int16_t)atoi(argv[2])};
    for (int i = 0; i < count; i++) {
        if (sscanf(argv[i + 3], "%d,%d,%d", &shapes[i].M, &shapes[i].K, &shapes[i].N) != 3)
            fail("reading a shape", i);
        info.M = (int32_t)greater((uint32_t)info.M, (uint32_t)shapes[i].M);
        info.K = (int32_t)greater((uint32_t)info.K, (uint32_t)shapes[i].K);
        info.N = (int32_t)greater((uint32_t)info.N, (uint32_t)shapes[i].N);
    }
    if (is_dequantised(info.type)) {
        info.B_quant_type = RKNN_QUANT_TYPE_PER_GROUP_SYM;
        info.group_size = GROUP;
    }
    memset(attrs, 0, sizeof attrs);
    rknn_matmul_ctx ctx;
    check("rknn_matmul_create_dynamic_shape",
          rknn_matmul_create_dynamic_shape(&ctx, &info, count, shapes, attrs));
    rknn_matmul_set_core_mask(ctx, RKNN_NPU_CORE_AUTO);
    if (is_dequantised(info.type))
        set_scales(ctx, &info, &attrs[0]);

    uint32_t sizes[3] = {0};
    for (int i = 0; i < count; i++) {
        sizes[0] = greater(sizes[0], attrs[i].A.size);
        sizes[1] = greater(sizes[1], attrs[i].B.size);
        sizes[2] = greater(sizes[2], attrs[i].C.size);
    }
    rknn_tensor_mem *a_mem = rknn_create_mem(ctx, sizes[0]), *b_mem = rknn_create_mem(ctx, sizes[1]);
    rknn_tensor_mem *c_mem = rknn_create_mem(ctx, sizes[2]);
    if (!a_mem || !b_mem || !c_mem)
        fail("rknn_create_mem", 0);

    signed char *a = numbers((size_t)info.M * (size_t)info.K, 3), *b = numbers((size_t)info.K * (size_t)info.N, 5);
    check("rknn_matmul_set_dynamic_shape", rknn_matmul_set_dynamic_shape(ctx, &shapes[0]));
    write_b(b_mem, b, shapes[0], &info);
    check("rknn_matmul_set_io_mem of B", rknn_matmul_set_io_mem(ctx, b_mem, &attrs[0].B));

    for (int i = 0; i < count; i++) {
        check("rknn_matmul_set_dynamic_shape", rknn_matmul_set_dynamic_shape(ctx, &shapes[i]));
        memcpy((char *)a_mem->virt_addr + a_mem->offset, a, (size_t)shapes[i].M * (size_t)shapes[i].K);
        check("rknn_matmul_set_io_mem of A", rknn_matmul_set_io_mem(ctx, a_mem, &attrs[i].A));
        if (info.B_layout == RKNN_MM_LAYOUT_TP_NORM) {
            write_b(b_mem, b, shapes[i], &info);
            check("rknn_matmul_set_io_mem of B", rknn_matmul_set_io_mem(ctx, b_mem, &attrs[i].B));
        }
        check("rknn_matmul_set_io_mem of C", rknn_matmul_set_io_mem(ctx, c_mem, &attrs[i].C));
        for (int run = 0; run < 3; run++)
            check("rknn_matmul_run", rknn_matmul_run(ctx));
        puts(is_exact(c_mem, a, b, shapes[i], info.type) ? "ok" : "wrong");
    }

    rknn_destroy_mem(ctx, a_mem);
    rknn_destroy_mem(ctx, b_mem);
    rknn_destroy_mem(ctx, c_mem);
    rknn_matmul_destroy(ctx);
    free(a);
    free(b);
    return 0;
}
