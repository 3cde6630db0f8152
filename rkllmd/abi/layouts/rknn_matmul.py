"""The C interface of RKNN's matrix multiplication, rknn_matmul_api.h of runtime 2.3.2."""

from __future__ import annotations

from ctypes import POINTER, c_char, c_float, c_int, c_int8, c_int16, c_int32, c_uint32, c_void_p
from enum import IntEnum
from typing import ClassVar

from rkllmd.abi.c_types import Signature, Struct
from rkllmd.abi.layouts.rknn import rknn_context, rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type

# typedef rknn_context rknn_matmul_ctx;
rknn_matmul_ctx = rknn_context


class rknn_matmul_quant_type(IntEnum):
    """How a matrix is quantised."""

    RKNN_QUANT_TYPE_PER_LAYER_SYM = 0
    RKNN_QUANT_TYPE_PER_LAYER_ASYM = 1
    RKNN_QUANT_TYPE_PER_CHANNEL_SYM = 2
    RKNN_QUANT_TYPE_PER_CHANNEL_ASYM = 3
    RKNN_QUANT_TYPE_PER_GROUP_SYM = 4
    RKNN_QUANT_TYPE_PER_GROUP_ASYM = 5


class rknn_matmul_type(IntEnum):
    """The element types of A, B and C."""

    RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32 = 1
    RKNN_INT8_MM_INT8_TO_INT32 = 2
    RKNN_INT8_MM_INT8_TO_INT8 = 3
    RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16 = 4
    RKNN_FLOAT16_MM_INT8_TO_FLOAT32 = 5
    RKNN_FLOAT16_MM_INT8_TO_FLOAT16 = 6
    RKNN_FLOAT16_MM_INT4_TO_FLOAT32 = 7
    RKNN_FLOAT16_MM_INT4_TO_FLOAT16 = 8
    RKNN_INT8_MM_INT8_TO_FLOAT32 = 9
    RKNN_INT4_MM_INT4_TO_INT16 = 10
    RKNN_INT8_MM_INT4_TO_INT32 = 11
    RKNN_FLOAT16_MM_INT4_TO_BFLOAT16 = 12
    RKNN_INT8_MM_INT4_TO_FLOAT16 = 15


class rknn_matmul_layout(IntEnum):
    """The order of the elements of A, B and C."""

    RKNN_MM_LAYOUT_NORM = 0
    RKNN_MM_LAYOUT_NATIVE = 1
    RKNN_MM_LAYOUT_TP_NORM = 2


# typedef struct {
#     char name[256];
#     float *scale;
#     int32_t scale_len;
#     int32_t *zp;
#     int32_t zp_len;
# } rknn_quant_params;
class rknn_quant_params(Struct):
    """Scales and zero points of one matrix."""

    _fields_ = (
        ("name", c_char * 256),
        ("scale", POINTER(c_float)),
        ("scale_len", c_int32),
        ("zp", POINTER(c_int32)),
        ("zp_len", c_int32),
    )


# typedef struct {
#     char name[256];
#     uint32_t n_dims;
#     uint32_t dims[16];
#     uint32_t size;
#     rknn_tensor_type type;
# } rknn_matmul_tensor_attr;
class rknn_matmul_tensor_attr(Struct):
    """One matrix of a matmul context."""

    _fields_ = (
        ("name", c_char * 256),
        ("n_dims", c_uint32),
        ("dims", c_uint32 * 16),
        ("size", c_uint32),
        ("type", c_int),
    )
    _enums_: ClassVar = {"type": rknn_tensor_type}


# typedef struct {
#     rknn_matmul_tensor_attr A;
#     rknn_matmul_tensor_attr B;
#     rknn_matmul_tensor_attr C;
# } rknn_matmul_io_attr;
class rknn_matmul_io_attr(Struct):
    """The three matrices of a matmul context: C = A x B."""

    _fields_ = (
        ("A", rknn_matmul_tensor_attr),
        ("B", rknn_matmul_tensor_attr),
        ("C", rknn_matmul_tensor_attr),
    )


# typedef struct {
#     int32_t M;
#     int32_t K;
#     int32_t N;
# } rknn_matmul_shape;
class rknn_matmul_shape(Struct):
    """A is [M, K], B is [K, N], C is [M, N]."""

    _fields_ = (
        ("M", c_int32),
        ("K", c_int32),
        ("N", c_int32),
    )


# typedef struct {
#     int32_t M;
#     int32_t K;
#     int32_t N;
#     rknn_matmul_type type;
#     int16_t B_layout;
#     int16_t B_quant_type;
#     int16_t AC_layout;
#     int16_t AC_quant_type;
#     int32_t iommu_domain_id;
#     int16_t group_size;
#     int8_t reserved[34];
# } rknn_matmul_info;
class rknn_matmul_info(Struct):
    """What rknn_matmul_create makes."""

    _fields_ = (
        ("M", c_int32),
        ("K", c_int32),
        ("N", c_int32),
        ("type", c_int),
        ("B_layout", c_int16),
        ("B_quant_type", c_int16),
        ("AC_layout", c_int16),
        ("AC_quant_type", c_int16),
        ("iommu_domain_id", c_int32),
        ("group_size", c_int16),
        ("reserved", c_int8 * 34),
    )
    _enums_: ClassVar = {
        "type": rknn_matmul_type,
        "B_layout": rknn_matmul_layout,
        "B_quant_type": rknn_matmul_quant_type,
        "AC_layout": rknn_matmul_layout,
        "AC_quant_type": rknn_matmul_quant_type,
    }


SIGNATURES: dict[str, Signature] = {
    # int rknn_matmul_create(rknn_matmul_ctx *ctx, rknn_matmul_info *info, rknn_matmul_io_attr *io_attr);
    "rknn_matmul_create": Signature(
        {"ctx": POINTER(rknn_matmul_ctx), "info": POINTER(rknn_matmul_info), "io_attr": POINTER(rknn_matmul_io_attr)},
        c_int,
    ),
    # int rknn_matmul_create_dynamic_shape(rknn_matmul_ctx *ctx, rknn_matmul_info *info, int shape_num,
    #     rknn_matmul_shape dynamic_shapes[], rknn_matmul_io_attr io_attrs[]);
    "rknn_matmul_create_dynamic_shape": Signature(
        {
            "ctx": POINTER(rknn_matmul_ctx),
            "info": POINTER(rknn_matmul_info),
            "shape_num": c_int,
            "dynamic_shapes": POINTER(rknn_matmul_shape),
            "io_attrs": POINTER(rknn_matmul_io_attr),
        },
        c_int,
    ),
    # int rknn_matmul_set_io_mem(rknn_matmul_ctx ctx, rknn_tensor_mem *mem, rknn_matmul_tensor_attr *attr);
    "rknn_matmul_set_io_mem": Signature(
        {"ctx": rknn_matmul_ctx, "mem": POINTER(rknn_tensor_mem), "attr": POINTER(rknn_matmul_tensor_attr)}, c_int
    ),
    # int rknn_matmul_set_core_mask(rknn_matmul_ctx context, rknn_core_mask core_mask);
    "rknn_matmul_set_core_mask": Signature({"context": rknn_matmul_ctx, "core_mask": c_int}, c_int),
    # int rknn_matmul_set_quant_params(rknn_matmul_ctx context, rknn_quant_params *params);
    "rknn_matmul_set_quant_params": Signature(
        {"context": rknn_matmul_ctx, "params": POINTER(rknn_quant_params)}, c_int
    ),
    # int rknn_matmul_get_quant_params(rknn_matmul_ctx ctx, rknn_quant_params *params, float *scale);
    "rknn_matmul_get_quant_params": Signature(
        {"ctx": rknn_matmul_ctx, "params": POINTER(rknn_quant_params), "scale": POINTER(c_float)}, c_int
    ),
    # int rknn_matmul_set_dynamic_shape(rknn_matmul_ctx ctx, rknn_matmul_shape *shape);
    "rknn_matmul_set_dynamic_shape": Signature({"ctx": rknn_matmul_ctx, "shape": POINTER(rknn_matmul_shape)}, c_int),
    # int rknn_matmul_run(rknn_matmul_ctx ctx);
    "rknn_matmul_run": Signature({"ctx": rknn_matmul_ctx}, c_int),
    # int rknn_matmul_destroy(rknn_matmul_ctx ctx);
    "rknn_matmul_destroy": Signature({"ctx": rknn_matmul_ctx}, c_int),
    # int rknn_B_normal_layout_to_native_layout(void *B_input, void *B_output, int K, int N, rknn_matmul_info *info);
    "rknn_B_normal_layout_to_native_layout": Signature(
        {"B_input": c_void_p, "B_output": c_void_p, "K": c_int, "N": c_int, "info": POINTER(rknn_matmul_info)}, c_int
    ),
}
