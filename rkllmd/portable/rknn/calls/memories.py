"""The functions of tensor memories, and of binding them to a context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rknn import rknn_tensor_attr, rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_mem_alloc_flags, rknn_mem_flag, rknn_mem_sync_mode
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.models import sizes
from rkllmd.portable.rknn.models.context import Binding, Context
from rkllmd.portable.rknn.tensors import memories
from rkllmd.portable.rknn.tensors.tensors import Tensor, form_of

_NO_CONTEXT = int(rknn_mem_flag.RKNN_MEM_FLAG_ALLOC_NO_CONTEXT)
_ALLOC_FLAGS = sum(rknn_mem_alloc_flags) | _NO_CONTEXT

if TYPE_CHECKING:
    from ctypes import _Pointer

    Pointer = _Pointer[rknn_tensor_mem]


def create_mem(context: int, size: int) -> int:
    """rknn_create_mem."""
    handles.find(context, object)
    return memories.allocate(context, size)


def create_mem2(context: int, size: int, flags: int) -> int:
    """rknn_create_mem2: with RKNN_MEM_FLAG_ALLOC_NO_CONTEXT for any context; caches and SRAM mean nothing here."""
    if not flags & _NO_CONTEXT:
        handles.find(context, object)
    if flags & ~_ALLOC_FLAGS:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there are no flags {flags & ~_ALLOC_FLAGS:#x}")
    return memories.allocate(0 if flags & _NO_CONTEXT else context, size)


def create_mem_from_fd(context: int, descriptor: int, address: int | None, size: int, offset: int) -> int:
    """rknn_create_mem_from_fd."""
    handles.find(context, object)
    return memories.adopt(context, descriptor, address, size, offset)


def create_mem_from_phys(context: int, physical: int, address: int | None, size: int) -> int:
    """rknn_create_mem_from_phys: always NULL."""
    raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, "physical addresses need an NPU")


def create_mem_from_mb_blk(context: int, block: int | None, offset: int) -> int:
    """rknn_create_mem_from_mb_blk: always NULL."""
    raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, "media blocks need Rockchip's media library")


def destroy_mem(context: int, pointer: Pointer) -> None:
    """rknn_destroy_mem: also after the end of the context that the memory was made for."""
    memories.destroy(_memory(context, pointer))


def mem_sync(context: int, pointer: Pointer, mode: int) -> None:
    """rknn_mem_sync: checked, and of no effect; there is one cache."""
    _memory(context, pointer)
    if mode not in set(rknn_mem_sync_mode):
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"there is no sync mode {mode}")


def _memory(context: int, pointer: Pointer) -> memories.Memory:
    """Return the memory. The context may be any that lives, the one it was made for, or 0 if it was made for none."""
    if not pointer:
        handles.find(context, object)
    memory = memories.find(pointer)
    if context != memory.owner:
        handles.find(context, object)
    return memory


def set_weight_mem(context: int, pointer: Pointer) -> None:
    """rknn_set_weight_mem: checked, and of no effect; the weights are ONNX Runtime's."""
    found = handles.find(context, Context)
    _check_size(pointer, found.model.weight_size)


def set_internal_mem(context: int, pointer: Pointer) -> None:
    """rknn_set_internal_mem: checked, and of no effect."""
    found = handles.find(context, Context)
    _check_size(pointer, sizes.internal(found))


def _check_size(pointer: Pointer, needed: int) -> None:
    size = memories.find(pointer).size
    if size < needed:
        raise RknnError(rknn_error.RKNN_ERR_PARAM_INVALID, f"the memory has {size} bytes of the {needed} needed")


def set_io_mem(context: int, pointer: Pointer, attr: _Pointer[rknn_tensor_attr]) -> None:
    """rknn_set_io_mem: each following run reads the input from the memory, or writes the output to it.

    ``attr`` names the tensor (without a name, its index is an input's) and says by type, fmt and pass_through how the
    values lie in the memory. RKNN_ERR_INPUT_INVALID and RKNN_ERR_OUTPUT_INVALID for a memory that is too small for the
    tensor's present shape.
    """
    found = handles.find(context, Context)
    memory = memories.find(pointer)
    require(attr, rknn_error.RKNN_ERR_PARAM_INVALID, "attr is NULL")
    tensor, is_input = _tensor(found, attr.contents)
    code = rknn_error.RKNN_ERR_INPUT_INVALID if is_input else rknn_error.RKNN_ERR_OUTPUT_INVALID
    form = form_of(tensor, attr.contents.type, attr.contents.fmt, attr.contents.pass_through, code)
    shape = (found.shapes if is_input else found.output_shapes())[tensor.index]
    needed = form.size(shape)
    if memory.size < needed:
        raise RknnError(code, f"{tensor.name} needs {needed} bytes, the memory has {memory.size}")
    bound = found.bound_inputs if is_input else found.bound_outputs
    bound[tensor.index] = Binding(memory, form)


def _tensor(context: Context, attr: rknn_tensor_attr) -> tuple[Tensor, bool]:
    model = context.model
    if not attr.name and attr.index < len(model.inputs):
        return model.inputs[attr.index], True
    for tensors, is_input in ((model.inputs, True), (model.outputs, False)):
        for tensor in tensors:
            if attr.name and tensor.c_name == attr.name:
                return tensor, is_input
    raise RknnError(
        rknn_error.RKNN_ERR_PARAM_INVALID,
        f"the model has no tensor {attr.name.decode('utf-8', 'replace') or attr.index}",
    )
