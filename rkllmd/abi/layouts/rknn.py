"""The C interface of RKNN, rknn_api.h of runtime 2.3.2: structs by C name, and the table of functions.

Each mirror has its C text above it; a test compares every field with the layout facts, and compiles ``rknn.h`` against
the same facts.
"""

from __future__ import annotations

from ctypes import (
    POINTER,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import ClassVar

from rkllmd.abi.architecture import NATIVE_HANDLE
from rkllmd.abi.c_types import Signature, Struct
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_format, rknn_tensor_qnt_type, rknn_tensor_type

# typedef uint64_t rknn_context;     /* uint32_t under __arm__ */
rknn_context = NATIVE_HANDLE


# typedef struct {
#     uint32_t n_input;
#     uint32_t n_output;
# } rknn_input_output_num;
class rknn_input_output_num(Struct):
    """How many inputs and outputs a model has."""

    _fields_ = (
        ("n_input", c_uint32),
        ("n_output", c_uint32),
    )


# typedef struct {
#     uint32_t index;
#     uint32_t n_dims;
#     uint32_t dims[16];
#     char name[256];
#     uint32_t n_elems;
#     uint32_t size;
#     rknn_tensor_format fmt;
#     rknn_tensor_type type;
#     rknn_tensor_qnt_type qnt_type;
#     int8_t fl;
#     int32_t zp;
#     float scale;
#     uint32_t w_stride;
#     uint32_t size_with_stride;
#     uint8_t pass_through;
#     uint32_t h_stride;
# } rknn_tensor_attr;
class rknn_tensor_attr(Struct):
    """One input or output of a model: its dimensions, type, quantisation and strides."""

    _fields_ = (
        ("index", c_uint32),
        ("n_dims", c_uint32),
        ("dims", c_uint32 * 16),
        ("name", c_char * 256),
        ("n_elems", c_uint32),
        ("size", c_uint32),
        ("fmt", c_int),
        ("type", c_int),
        ("qnt_type", c_int),
        ("fl", c_int8),
        ("zp", c_int32),
        ("scale", c_float),
        ("w_stride", c_uint32),
        ("size_with_stride", c_uint32),
        ("pass_through", c_uint8),
        ("h_stride", c_uint32),
    )
    _enums_: ClassVar = {"fmt": rknn_tensor_format, "type": rknn_tensor_type, "qnt_type": rknn_tensor_qnt_type}
    _flags_ = frozenset({"pass_through"})


# typedef struct {
#     uint32_t index;
#     uint32_t shape_number;
#     rknn_tensor_format fmt;
#     char name[256];
#     uint32_t dyn_range[512][16];
#     uint32_t n_dims;
# } rknn_input_range;
class rknn_input_range(Struct):
    """The shapes that an input of a model with dynamic shapes may have."""

    _fields_ = (
        ("index", c_uint32),
        ("shape_number", c_uint32),
        ("fmt", c_int),
        ("name", c_char * 256),
        ("dyn_range", (c_uint32 * 16) * 512),
        ("n_dims", c_uint32),
    )
    _enums_: ClassVar = {"fmt": rknn_tensor_format}


# typedef struct {
#     char *perf_data;
#     uint64_t data_len;
# } rknn_perf_detail;
class rknn_perf_detail(Struct):
    """The time that each layer took, as a table of text; owned by the runtime."""

    _fields_ = (
        ("perf_data", c_char_p),
        ("data_len", c_uint64),
    )


# typedef struct {
#     int64_t run_duration;
# } rknn_perf_run;
class rknn_perf_run(Struct):
    """The time of the last run, in microseconds."""

    _fields_ = (("run_duration", c_int64),)


# typedef struct {
#     char api_version[256];
#     char drv_version[256];
# } rknn_sdk_version;
class rknn_sdk_version(Struct):
    """The versions of the runtime and of the NPU driver."""

    _fields_ = (
        ("api_version", c_char * 256),
        ("drv_version", c_char * 256),
    )


# typedef struct {
#     uint32_t total_weight_size;
#     uint32_t total_internal_size;
#     uint64_t total_dma_allocated_size;
#     uint32_t total_sram_size;
#     uint32_t free_sram_size;
#     uint32_t reserved[10];
# } rknn_mem_size;
class rknn_mem_size(Struct):
    """The memory that a context takes, in bytes."""

    _fields_ = (
        ("total_weight_size", c_uint32),
        ("total_internal_size", c_uint32),
        ("total_dma_allocated_size", c_uint64),
        ("total_sram_size", c_uint32),
        ("free_sram_size", c_uint32),
        ("reserved", c_uint32 * 10),
    )


# typedef struct {
#     char string[1024];
# } rknn_custom_string;
class rknn_custom_string(Struct):
    """The text that the converter put into the model."""

    _fields_ = (("string", c_char * 1024),)


# typedef struct {
#     void *virt_addr;
#     uint64_t phys_addr;
#     int32_t fd;
#     int32_t offset;
#     uint32_t size;
#     uint32_t flags;
#     void *priv_data;
# } rknn_tensor_mem;
class rknn_tensor_mem(Struct):
    """A tensor memory: where it is, and the descriptor that shares it."""

    _fields_ = (
        ("virt_addr", c_void_p),
        ("phys_addr", c_uint64),
        ("fd", c_int32),
        ("offset", c_int32),
        ("size", c_uint32),
        ("flags", c_uint32),
        ("priv_data", c_void_p),
    )


# typedef struct {
#     uint32_t index;
#     void *buf;
#     uint32_t size;
#     uint8_t pass_through;
#     rknn_tensor_type type;
#     rknn_tensor_format fmt;
# } rknn_input;
class rknn_input(Struct):
    """One input of rknn_inputs_set."""

    _fields_ = (
        ("index", c_uint32),
        ("buf", c_void_p),
        ("size", c_uint32),
        ("pass_through", c_uint8),
        ("type", c_int),
        ("fmt", c_int),
    )
    _enums_: ClassVar = {"type": rknn_tensor_type, "fmt": rknn_tensor_format}
    _flags_ = frozenset({"pass_through"})


# typedef struct {
#     uint8_t want_float;
#     uint8_t is_prealloc;
#     uint32_t index;
#     void *buf;
#     uint32_t size;
# } rknn_output;
class rknn_output(Struct):
    """One output of rknn_outputs_get; ``buf`` is the runtime's unless ``is_prealloc``."""

    _fields_ = (
        ("want_float", c_uint8),
        ("is_prealloc", c_uint8),
        ("index", c_uint32),
        ("buf", c_void_p),
        ("size", c_uint32),
    )
    _flags_ = frozenset({"want_float", "is_prealloc"})


# typedef struct {
#     rknn_context ctx;
#     int32_t real_model_offset;
#     uint32_t real_model_size;
#     int32_t model_buffer_fd;
#     uint32_t model_buffer_flags;
#     uint8_t reserved[112];
# } rknn_init_extend;
class rknn_init_extend(Struct):
    """What rknn_init may be given beyond the model."""

    _fields_ = (
        ("ctx", rknn_context),
        ("real_model_offset", c_int32),
        ("real_model_size", c_uint32),
        ("model_buffer_fd", c_int32),
        ("model_buffer_flags", c_uint32),
        ("reserved", c_uint8 * 112),
    )


# typedef struct {
#     uint64_t frame_id;
#     int32_t non_block;
#     int32_t timeout_ms;
#     int32_t fence_fd;
# } rknn_run_extend;
class rknn_run_extend(Struct):
    """How rknn_run and rknn_wait wait."""

    _fields_ = (
        ("frame_id", c_uint64),
        ("non_block", c_int32),
        ("timeout_ms", c_int32),
        ("fence_fd", c_int32),
    )
    _flags_ = frozenset({"non_block"})


# typedef struct {
#     uint64_t frame_id;
# } rknn_output_extend;
class rknn_output_extend(Struct):
    """Which run the outputs are of."""

    _fields_ = (("frame_id", c_uint64),)


SIGNATURES: dict[str, Signature] = {
    # int rknn_init(rknn_context *context, void *model, uint32_t size, uint32_t flag, rknn_init_extend *extend);
    "rknn_init": Signature(
        {
            "context": POINTER(rknn_context),
            "model": c_void_p,
            "size": c_uint32,
            "flag": c_uint32,
            "extend": POINTER(rknn_init_extend),
        },
        c_int,
    ),
    # int rknn_dup_context(rknn_context *context_in, rknn_context *context_out);
    "rknn_dup_context": Signature({"context_in": POINTER(rknn_context), "context_out": POINTER(rknn_context)}, c_int),
    # int rknn_destroy(rknn_context context);
    "rknn_destroy": Signature({"context": rknn_context}, c_int),
    # int rknn_query(rknn_context context, rknn_query_cmd cmd, void *info, uint32_t size);
    "rknn_query": Signature({"context": rknn_context, "cmd": c_int, "info": c_void_p, "size": c_uint32}, c_int),
    # int rknn_inputs_set(rknn_context context, uint32_t n_inputs, rknn_input inputs[]);
    "rknn_inputs_set": Signature({"context": rknn_context, "n_inputs": c_uint32, "inputs": POINTER(rknn_input)}, c_int),
    # int rknn_set_batch_core_num(rknn_context context, int core_num);
    "rknn_set_batch_core_num": Signature({"context": rknn_context, "core_num": c_int}, c_int),
    # int rknn_set_core_mask(rknn_context context, rknn_core_mask core_mask);
    "rknn_set_core_mask": Signature({"context": rknn_context, "core_mask": c_int}, c_int),
    # int rknn_run(rknn_context context, rknn_run_extend *extend);
    "rknn_run": Signature({"context": rknn_context, "extend": POINTER(rknn_run_extend)}, c_int),
    # int rknn_wait(rknn_context context, rknn_run_extend *extend);
    "rknn_wait": Signature({"context": rknn_context, "extend": POINTER(rknn_run_extend)}, c_int),
    # int rknn_outputs_get(rknn_context context, uint32_t n_outputs, rknn_output outputs[], rknn_output_extend *extend);
    "rknn_outputs_get": Signature(
        {
            "context": rknn_context,
            "n_outputs": c_uint32,
            "outputs": POINTER(rknn_output),
            "extend": POINTER(rknn_output_extend),
        },
        c_int,
    ),
    # int rknn_outputs_release(rknn_context context, uint32_t n_ouputs, rknn_output outputs[]);
    "rknn_outputs_release": Signature(
        {"context": rknn_context, "n_ouputs": c_uint32, "outputs": POINTER(rknn_output)}, c_int
    ),
    # rknn_tensor_mem *rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr, void *virt_addr, uint32_t size);
    "rknn_create_mem_from_phys": Signature(
        {"ctx": rknn_context, "phys_addr": c_uint64, "virt_addr": c_void_p, "size": c_uint32}, POINTER(rknn_tensor_mem)
    ),
    # rknn_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt_addr, uint32_t size, int32_t
    #     offset);
    "rknn_create_mem_from_fd": Signature(
        {"ctx": rknn_context, "fd": c_int32, "virt_addr": c_void_p, "size": c_uint32, "offset": c_int32},
        POINTER(rknn_tensor_mem),
    ),
    # rknn_tensor_mem *rknn_create_mem_from_mb_blk(rknn_context ctx, void *mb_blk, int32_t offset);
    "rknn_create_mem_from_mb_blk": Signature(
        {"ctx": rknn_context, "mb_blk": c_void_p, "offset": c_int32}, POINTER(rknn_tensor_mem)
    ),
    # rknn_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size);
    "rknn_create_mem": Signature({"ctx": rknn_context, "size": c_uint32}, POINTER(rknn_tensor_mem)),
    # rknn_tensor_mem *rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags);
    "rknn_create_mem2": Signature(
        {"ctx": rknn_context, "size": c_uint64, "alloc_flags": c_uint64}, POINTER(rknn_tensor_mem)
    ),
    # int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem *mem);
    "rknn_destroy_mem": Signature({"ctx": rknn_context, "mem": POINTER(rknn_tensor_mem)}, c_int),
    # int rknn_set_weight_mem(rknn_context ctx, rknn_tensor_mem *mem);
    "rknn_set_weight_mem": Signature({"ctx": rknn_context, "mem": POINTER(rknn_tensor_mem)}, c_int),
    # int rknn_set_internal_mem(rknn_context ctx, rknn_tensor_mem *mem);
    "rknn_set_internal_mem": Signature({"ctx": rknn_context, "mem": POINTER(rknn_tensor_mem)}, c_int),
    # int rknn_set_io_mem(rknn_context ctx, rknn_tensor_mem *mem, rknn_tensor_attr *attr);
    "rknn_set_io_mem": Signature(
        {"ctx": rknn_context, "mem": POINTER(rknn_tensor_mem), "attr": POINTER(rknn_tensor_attr)}, c_int
    ),
    # int rknn_set_input_shape(rknn_context ctx, rknn_tensor_attr *attr);
    "rknn_set_input_shape": Signature({"ctx": rknn_context, "attr": POINTER(rknn_tensor_attr)}, c_int),
    # int rknn_set_input_shapes(rknn_context ctx, uint32_t n_inputs, rknn_tensor_attr attr[]);
    "rknn_set_input_shapes": Signature(
        {"ctx": rknn_context, "n_inputs": c_uint32, "attr": POINTER(rknn_tensor_attr)}, c_int
    ),
    # int rknn_mem_sync(rknn_context context, rknn_tensor_mem *mem, rknn_mem_sync_mode mode);
    "rknn_mem_sync": Signature({"context": rknn_context, "mem": POINTER(rknn_tensor_mem), "mode": c_int}, c_int),
}
