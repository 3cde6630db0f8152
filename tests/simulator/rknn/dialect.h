/* The functions of RKNN and what its scenarios hold; only common.h includes this. */
#ifndef RKNN_DIALECT_H
#define RKNN_DIALECT_H

#define SCENARIO_VARIABLE "RKNN_SIMULATOR"
#define HAS_OWN_FAULT_KEY(function) ((function) == FN_init || (function) == FN_run)
#define RETURNS_NO_STATUS(function) \
    ((function) == FN_custom_op_get_op_attr || ((function) >= FN_create_mem && (function) <= FN_create_mem_from_mb_blk))

/* ---- functions ---------------------------------------------------------------------------------------------- */

/* name, which context it takes: NONE, MODEL, MATMUL, ANY of both, MAYBE one */
#define FOR_EACH_FUNCTION(X)                   \
    X(init, NONE)                              \
    X(dup_context, MODEL)                      \
    X(destroy, MODEL)                          \
    X(query, MODEL)                            \
    X(inputs_set, MODEL)                       \
    X(set_batch_core_num, MODEL)               \
    X(set_core_mask, MODEL)                    \
    X(run, MODEL)                              \
    X(wait, MODEL)                             \
    X(outputs_get, MODEL)                      \
    X(outputs_release, MODEL)                  \
    X(create_mem, ANY)                         \
    X(create_mem2, MAYBE)                      \
    X(create_mem_from_phys, ANY)               \
    X(create_mem_from_fd, ANY)                 \
    X(create_mem_from_mb_blk, ANY)             \
    X(destroy_mem, MAYBE)                      \
    X(set_weight_mem, MODEL)                   \
    X(set_internal_mem, MODEL)                 \
    X(set_io_mem, MODEL)                       \
    X(set_input_shape, MODEL)                  \
    X(set_input_shapes, MODEL)                 \
    X(mem_sync, ANY)                           \
    X(matmul_create, NONE)                     \
    X(matmul_create_dynamic_shape, NONE)       \
    X(matmul_set_io_mem, MATMUL)               \
    X(matmul_set_core_mask, MATMUL)            \
    X(matmul_set_quant_params, MATMUL)         \
    X(matmul_get_quant_params, MATMUL)         \
    X(matmul_set_dynamic_shape, MATMUL)        \
    X(matmul_run, MATMUL)                      \
    X(matmul_destroy, MATMUL)                  \
    X(B_normal_layout_to_native_layout, NONE)  \
    X(register_custom_ops, MODEL)              \
    X(custom_op_get_op_attr, NONE)

typedef enum {
#define X(name, takes) FN_##name,
    FOR_EACH_FUNCTION(X)
#undef X
    FUNCTION_COUNT
} Function;

/* ---- scenario ----------------------------------------------------------------------------------------------- */

typedef struct {
    COMMON_FIELDS

    int64_t init_status, error_status;
    int64_t run_us;
    int64_t memory_limit;
    char *driver_version;
} Scenario;

#endif
