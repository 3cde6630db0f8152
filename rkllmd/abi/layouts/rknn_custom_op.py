"""The C interface of RKNN's custom operators, rknn_custom_op.h of runtime 2.3.2."""

from __future__ import annotations

from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from typing import ClassVar

from rkllmd.abi.architecture import NATIVE_HANDLE
from rkllmd.abi.c_types import Signature, Struct
from rkllmd.abi.layouts.rknn import rknn_context, rknn_tensor_attr, rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type


class rknn_target_type(IntEnum):
    """Where a custom operator runs."""

    RKNN_TARGET_TYPE_CPU = 1
    RKNN_TARGET_TYPE_GPU = 2
    RKNN_TARGET_TYPE_MAX = 3


RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE = -14
RKNN_CUSTOM_OP_MAX_STR_LEN = 64
RKNN_CUSTOM_OP_MAX_VALUE_LEN = 32


# typedef uint64_t rknn_custom_op_interal_context;     /* uint32_t under __arm__; the spelling is C's */
rknn_custom_op_interal_context = NATIVE_HANDLE


# typedef struct {
#     void *cl_context;
#     void *cl_command_queue;
#     void *cl_kernel;
# } rknn_gpu_op_context;
class rknn_gpu_op_context(Struct):
    """The OpenCL objects of a custom operator on the GPU."""

    _fields_ = (
        ("cl_context", c_void_p),
        ("cl_command_queue", c_void_p),
        ("cl_kernel", c_void_p),
    )


# typedef struct {
#     rknn_target_type target;
#     rknn_custom_op_interal_context internal_ctx;
#     rknn_gpu_op_context gpu_ctx;
#     void *priv_data;
# } rknn_custom_op_context;
class rknn_custom_op_context(Struct):
    """What the callbacks of a custom operator get of their own."""

    _fields_ = (
        ("target", c_int),
        ("internal_ctx", rknn_custom_op_interal_context),
        ("gpu_ctx", rknn_gpu_op_context),
        ("priv_data", c_void_p),
    )
    _enums_: ClassVar = {"target": rknn_target_type}


# typedef struct {
#     rknn_tensor_attr attr;
#     rknn_tensor_mem mem;
# } rknn_custom_op_tensor;
class rknn_custom_op_tensor(Struct):
    """A tensor as the callbacks of a custom operator see it."""

    _fields_ = (
        ("attr", rknn_tensor_attr),
        ("mem", rknn_tensor_mem),
    )


# typedef struct {
#     char name[256];
#     rknn_tensor_type dtype;
#     uint32_t n_elems;
#     void *data;
# } rknn_custom_op_attr;
class rknn_custom_op_attr(Struct):
    """An attribute of a custom operator in the model."""

    _fields_ = (
        ("name", c_char * 256),
        ("dtype", c_int),
        ("n_elems", c_uint32),
        ("data", c_void_p),
    )
    _enums_: ClassVar = {"dtype": rknn_tensor_type}


# int (*)(rknn_custom_op_context *op_ctx, rknn_custom_op_tensor *inputs, uint32_t n_inputs,
#         rknn_custom_op_tensor *outputs, uint32_t n_outputs);
CustomOpCallback = CFUNCTYPE(
    c_int,
    POINTER(rknn_custom_op_context),
    POINTER(rknn_custom_op_tensor),
    c_uint32,
    POINTER(rknn_custom_op_tensor),
    c_uint32,
)

# int (*)(rknn_custom_op_context *op_ctx);
CustomOpDestroy = CFUNCTYPE(c_int, POINTER(rknn_custom_op_context))


# typedef struct {
#     uint32_t version;
#     rknn_target_type target;
#     char op_type[256];
#     char cl_kernel_name[256];
#     char *cl_kernel_source;
#     uint64_t cl_source_size;
#     char cl_build_options[256];
#     int (*init)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *, uint32_t);
#     int (*prepare)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *, uint32_t);
#     int (*compute)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *, uint32_t);
#     int (*compute_native)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *,
#                           uint32_t);
#     int (*destroy)(rknn_custom_op_context *);
# } rknn_custom_op;
class rknn_custom_op(Struct):
    """A custom operator: its name in the model and its callbacks."""

    _fields_ = (
        ("version", c_uint32),
        ("target", c_int),
        ("op_type", c_char * 256),
        ("cl_kernel_name", c_char * 256),
        ("cl_kernel_source", c_char_p),
        ("cl_source_size", c_uint64),
        ("cl_build_options", c_char * 256),
        ("init", CustomOpCallback),
        ("prepare", CustomOpCallback),
        ("compute", CustomOpCallback),
        ("compute_native", CustomOpCallback),
        ("destroy", CustomOpDestroy),
    )
    _enums_: ClassVar = {"target": rknn_target_type}


# typedef rknn_custom_op *(*get_custom_op_func)();
get_custom_op_func = CFUNCTYPE(POINTER(rknn_custom_op))


SIGNATURES: dict[str, Signature] = {
    # int rknn_register_custom_ops(rknn_context ctx, rknn_custom_op *op, uint32_t custom_op_num);
    "rknn_register_custom_ops": Signature(
        {"ctx": rknn_context, "op": POINTER(rknn_custom_op), "custom_op_num": c_uint32}, c_int
    ),
    # void rknn_custom_op_get_op_attr(rknn_custom_op_context *op_ctx, const char *attr_name, rknn_custom_op_attr
    #     *op_attr);
    "rknn_custom_op_get_op_attr": Signature(
        {"op_ctx": POINTER(rknn_custom_op_context), "attr_name": c_char_p, "op_attr": POINTER(rknn_custom_op_attr)},
        None,
    ),
}
