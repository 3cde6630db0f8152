"""What is behind RKNN's handles: whether it is alive, and what of a memory can be seen and is given up."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest

from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.wire.descriptors import Descriptors


@pytest.mark.parametrize("made", [Context("/m.rknn", 10, 0), Matmul([], [], 1)])
def test_a_context_is_alive_while_c_has_it(made: Context | Matmul) -> None:
    assert not made.is_alive
    made.pointer.value = 1
    assert made.is_alive


def test_no_two_contexts_share_what_belongs_to_one() -> None:
    first, second = Context("/a", 1, 0), Context("/b", 1, 0)
    first.pointer.value = 1
    first.inputs.append(1)  # type: ignore[arg-type]
    assert (second.is_alive, second.inputs) == (False, [])


def test_a_memory_is_seen_where_c_has_it() -> None:
    content = ctypes.create_string_buffer(b"0123456789", 10)
    memory = TensorMemory(None, ctypes.pointer(rknn_tensor_mem(virt_addr=ctypes.addressof(content), size=10)), 10)
    view = memory.view(2, 3)
    assert bytes(view) == b"234"
    view[0] = ord("x")
    assert content.raw == b"01x3456789", "in place"
    assert memory.is_alive


def test_a_clients_memory_is_seen_through_our_own_mapping() -> None:
    """Where the runtime has mapped it is not asked: that may be an address of the NPU."""
    nothing: Any = None
    memory = TensorMemory(None, nothing, 10, mapping=memoryview(bytearray(b"0123456789")))
    assert bytes(memory.view(2, 3)) == b"234"
    assert not memory.is_alive


def test_what_keeps_a_clients_memory_mapped_is_given_up() -> None:
    sent = os.memfd_create("sent")
    nothing: Any = None
    memory = TensorMemory(None, nothing, 1, descriptors=Descriptors([sent]), mapping=memoryview(b"x"))
    memory.close()
    assert memory.mapping is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sent)
    memory.close()
