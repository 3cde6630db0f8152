"""The functions of rknn_matmul_api.h."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rknn import rknn_context, rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.layouts.rknn_matmul import (
    rknn_matmul_info,
    rknn_matmul_io_attr,
    rknn_matmul_shape,
    rknn_matmul_tensor_attr,
    rknn_quant_params,
)
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.c_memory import view
from rkllmd.portable.rknn.calls.contexts import check_core_mask
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.matmul import layouts, quantisation
from rkllmd.portable.rknn.matmul.context import MATRICES, Matmul
from rkllmd.portable.rknn.matmul.layouts import Size
from rkllmd.portable.rknn.matmul.types import byte_size, element_types, pack, unpack
from rkllmd.portable.rknn.tensors import memories

if TYPE_CHECKING:
    from ctypes import _Pointer, c_float, c_uint64

_MOST_SIZES = 512


def create(context: _Pointer[c_uint64], info: _Pointer[rknn_matmul_info], attr: _Pointer[rknn_matmul_io_attr]) -> None:
    """rknn_matmul_create."""
    _require_pointers(context, info, attr)
    given = info.contents
    _create(context, given, [Size(given.M, given.K, given.N)], attr)


def create_dynamic_shape(
    context: _Pointer[c_uint64],
    info: _Pointer[rknn_matmul_info],
    count: int,
    shapes: _Pointer[rknn_matmul_shape],
    attrs: _Pointer[rknn_matmul_io_attr],
) -> None:
    """rknn_matmul_create_dynamic_shape: the first shape is the one at the start; ``info``'s own does not count."""
    _require_pointers(context, info, shapes, attrs)
    if not 1 <= count <= _MOST_SIZES:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"shape_num is {count}, not 1 to {_MOST_SIZES}")
    _create(context, info.contents, [_size(shapes[position]) for position in range(count)], attrs)


def _create(
    context: _Pointer[c_uint64], info: rknn_matmul_info, sizes: list[Size], attrs: _Pointer[rknn_matmul_io_attr]
) -> None:
    matmul = Matmul(info, sizes)
    for position, size in enumerate(sizes):
        ctypes.memset(ctypes.byref(attrs[position]), 0, ctypes.sizeof(rknn_matmul_io_attr))
        for name in MATRICES:
            matmul.describe(getattr(attrs[position], name), name, size)
    context[0] = rknn_context(handles.add(matmul))


def destroy(context: int) -> None:
    """rknn_matmul_destroy: memories that were made for the context stay until rknn_destroy_mem."""
    handles.remove(context, Matmul)


def set_io_mem(context: int, pointer: _Pointer[rknn_tensor_mem], attr: _Pointer[rknn_matmul_tensor_attr]) -> None:
    """rknn_matmul_set_io_mem: each following run reads A and B from their memories, and writes C to its memory.

    RKNN_ERR_PARAM_INVALID for a name other than A, B and C, and for a memory smaller than ``attr`` says.
    """
    matmul = handles.find(context, Matmul)
    memory = memories.find(pointer)
    _require_pointers(attr)
    name = _matrix(attr.contents.name)
    if memory.size < attr.contents.size:
        raise RknnError(
            rknn_error.RKNN_ERR_PARAM_INVALID, f"{name} needs {attr.contents.size} bytes, the memory has {memory.size}"
        )
    matmul.memories[name] = memory


def set_core_mask(context: int, mask: int) -> None:
    """rknn_matmul_set_core_mask: checked, and of no effect."""
    handles.find(context, Matmul)
    check_core_mask(mask)


def set_quant_params(context: int, params: _Pointer[rknn_quant_params]) -> None:
    """rknn_matmul_set_quant_params: the scales and zero points are copied."""
    matmul = handles.find(context, Matmul)
    _require_pointers(params)
    name = _matrix(params.contents.name)
    # In a context of several sizes the parameters are for the present one, for the biggest, or, as in the vendor's own
    # example, for the greatest K and the greatest N that there are.
    sizes = [matmul.size, *sorted(matmul.sizes, key=lambda size: size.k * size.n, reverse=True)]
    sizes.append(Size(1, max(size.k for size in sizes), max(size.n for size in sizes)))
    matmul.parameters[name] = quantisation.read(params.contents, matmul.schemes[name], sizes)


def get_quant_params(context: int, params: _Pointer[rknn_quant_params], scale: _Pointer[c_float]) -> None:
    """rknn_matmul_get_quant_params of the matrix that ``params`` names.

    The pointers are made to point to the runtime's own numbers, which stay until they are set anew or the context ends;
    nothing is written to where they pointed. ``scale`` gets the greatest of the scales.
    """
    matmul = handles.find(context, Matmul)
    _require_pointers(params)
    wanted = params.contents
    parameters = matmul.parameters[_matrix(wanted.name)]
    wanted.scale = ctypes.cast(parameters.scale.ctypes.data, type(wanted.scale))
    wanted.zp = ctypes.cast(parameters.zero_point.ctypes.data, type(wanted.zp))
    wanted.scale_len = wanted.zp_len = parameters.scale.size
    if scale:
        scale[0] = ctypes.c_float(parameters.scale.max())


def set_dynamic_shape(context: int, shape: _Pointer[rknn_matmul_shape]) -> None:
    """rknn_matmul_set_dynamic_shape: one of those that the context was made with.

    The memories of A and C have to be set anew. That of B stays if K and N stay the same, as in the vendor's own
    example.
    """
    matmul = handles.find(context, Matmul)
    _require_pointers(shape)
    size = _size(shape.contents)
    if size not in matmul.sizes:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"the context was not made with the shape {tuple(size)}")
    matmul.memories.pop("A", None)
    matmul.memories.pop("C", None)
    if (size.k, size.n) != (matmul.size.k, matmul.size.n):
        matmul.memories.pop("B", None)
    matmul.size = size


def run(context: int) -> None:
    """rknn_matmul_run."""
    handles.find(context, Matmul).run()


def b_normal_layout_to_native_layout(
    source: int | None, target: int | None, k: int, n: int, info: _Pointer[rknn_matmul_info]
) -> None:
    """rknn_B_normal_layout_to_native_layout: ``source`` is [K, N], or [N, K] where ``info``'s layout is TP_NORM."""
    require(source and target, rknn_error.RKNN_ERR_PARAM_INVALID, "a matrix is NULL")
    _require_pointers(info)
    if min(k, n) < 1:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"K and N are {k} and {n}")
    element_type = element_types(info.contents.type).b
    size = Size(1, k, n)
    native = layouts.b_dims(size, layouts.NATIVE, element_type)
    is_transposed = info.contents.B_layout == layouts.TRANSPOSED
    normal = layouts.TRANSPOSED if is_transposed else layouts.NORMAL
    stored = unpack(view(source or 0, byte_size(element_type, k * n)), element_type, k * n)
    matrix = layouts.read_b(stored, size, normal, layouts.b_dims(size, normal, element_type))
    content = pack(layouts.write_b(matrix, native), element_type)
    view(target or 0, content.size)[:] = content


def _require_pointers(*pointers: object) -> None:
    require(all(pointers), rknn_error.RKNN_ERR_PARAM_INVALID, "an argument is NULL")


def _size(shape: rknn_matmul_shape) -> Size:
    return Size(shape.M, shape.K, shape.N)


def _matrix(name: bytes) -> str:
    for known in MATRICES:
        if known.encode() == name:
            return known
    raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no matrix {name.decode('utf-8', 'replace')!r}")
