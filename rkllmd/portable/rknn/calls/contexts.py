"""The functions that make, copy, end and steer a context."""

from __future__ import annotations

import os
from ctypes import string_at
from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rknn import rknn_context, rknn_init_extend
from rkllmd.abi.layouts.rknn_constants import rknn_core_mask, rknn_error, rknn_flag
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.models.context import Context
from rkllmd.portable.rknn.models.model import Model
from rkllmd.portable.rknn.models.model_file import ModelFile

if TYPE_CHECKING:
    from ctypes import _Pointer, c_uint64

_FENCES = rknn_flag.RKNN_FLAG_FENCE_IN_OUTSIDE | rknn_flag.RKNN_FLAG_FENCE_OUT_OUTSIDE
_ALL_FLAGS = sum(rknn_flag)
_MOST_CORES = 3


def init(
    context: _Pointer[c_uint64], model: int | None, size: int, flags: int, extend: _Pointer[rknn_init_extend]
) -> None:
    """rknn_init: ``model`` is the model itself, or for size 0 the path of its file.

    Flags about the NPU's priorities, caches and memories mean nothing here and are accepted.
    """
    require(context, rknn_error.RKNN_ERR_PARAM_INVALID, "context is NULL")
    _check_flags(flags)
    offset = part = 0
    if extend:
        offset, part = extend.contents.real_model_offset, extend.contents.real_model_size
        if flags & rknn_flag.RKNN_FLAG_SHARE_WEIGHT_MEM:
            handles.find(extend.contents.ctx, Context)
    if not model:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, "model is NULL")
    if size:
        file = ModelFile.from_memory(model, size, offset, part)
    else:
        file = ModelFile.from_path(os.fsdecode(string_at(model)), offset, part)
    profiled = bool(flags & rknn_flag.RKNN_FLAG_COLLECT_PERF_MASK)
    context[0] = rknn_context(handles.add(Context.of(Model(file, profiled=profiled), flags)))


def dup_context(context_in: _Pointer[c_uint64], context_out: _Pointer[c_uint64]) -> None:
    """rknn_dup_context: one more context of the same model, with values of its own."""
    require(context_in and context_out, rknn_error.RKNN_ERR_PARAM_INVALID, "a context is NULL")
    original = handles.find(context_in[0], Context)
    context_out[0] = rknn_context(handles.add(Context.of(original.model.share(), original.flags)))


def destroy(context: int) -> None:
    """rknn_destroy: memories that were made for the context stay until rknn_destroy_mem."""
    handles.remove(context, Context).destroy()


def set_batch_core_num(context: int, cores: int) -> None:
    """rknn_set_batch_core_num: checked, and of no effect."""
    handles.find(context, Context)
    if not 1 <= cores <= _MOST_CORES:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"core_num is {cores}, not 1 to {_MOST_CORES}")


def set_core_mask(context: int, mask: int) -> None:
    """rknn_set_core_mask: checked, and of no effect."""
    handles.find(context, Context)
    check_core_mask(mask)


def check_core_mask(mask: int) -> None:
    """RKNN_ERR_PARAM_INVALID unless ``mask`` is one that rknn_api.h names."""
    if mask not in set(rknn_core_mask) - {rknn_core_mask.RKNN_NPU_CORE_UNDEFINED}:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no core mask {mask}")


def _check_flags(flags: int) -> None:
    require(not flags & _FENCES, rknn_error.RKNN_ERR_PARAM_INVALID, "fences need an NPU")
    if flags & ~_ALL_FLAGS:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there are no flags {flags & ~_ALL_FLAGS:#x}")
