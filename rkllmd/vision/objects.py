"""The objects behind RKNN's handles: contexts, matmul contexts, tensor memories.

Only the NPU's worker thread touches what is C's in them: a context that is used from two threads has panicked kernels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import outcome

from rkllmd.abi.c import bytes_at
from rkllmd.abi.layouts.rknn import rknn_context, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_io_attr

if TYPE_CHECKING:
    from rkllmd.vision.detached_run import DetachedRun


@dataclass(eq=False)
class Context:
    """A loaded RKNN model."""

    path: str
    size_bytes: int
    flag: int
    pointer: Any = field(default_factory=rknn_context)
    number: int = 0
    # Everything that C may still look at: the model's bytes, a library of operators.
    keep_alive: list[Any] = field(default_factory=list)
    inputs: list[rknn_tensor_attr] = field(default_factory=list)
    outputs: list[rknn_tensor_attr] = field(default_factory=list)
    # What rknn.query answers without asking C: (command, index) → a C struct.
    answers: dict[tuple[rknn_query_cmd, int], Any] = field(default_factory=dict)
    # The C array of rknn_outputs_get, until rknn_outputs_release.
    outputs_held: Any = None
    runs: int = 0
    # The last run whose outputs' shapes are in ``outputs``.
    shapes_of_run: int = 0
    # (is an output, index) → the memory that rknn.set_io_mem bound it to, and with which attributes.
    bindings: dict[tuple[bool, int], tuple[TensorMemory, rknn_tensor_attr]] = field(default_factory=dict)
    # What rknn.set_weight_mem and rknn.set_internal_mem gave: C uses it until the context is destroyed.
    outside: list[TensorMemory] = field(default_factory=list)
    # A rknn_run with non_block has begun and rknn_wait was not called yet.
    is_running: bool = False
    # That run, where the runtime can be interrupted.
    detached: DetachedRun | None = None
    # How such a run has ended that the daemon had to wait for, until the client asks.
    ended: outcome.Outcome[None] | None = None
    # Attributes of custom operators as they were read in their init callbacks: for each node its operator and its
    # attributes by name.
    operator_nodes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        """Return whether it is still loaded."""
        return bool(self.pointer)


@dataclass(eq=False)
class Matmul:
    """A matmul context: C = A x B."""

    # As created: one for each shape it may have, and which of them is current.
    io_attrs: list[rknn_matmul_io_attr]
    shapes: list[tuple[int, int, int]]
    type: int
    shape_index: int = 0
    pointer: Any = field(default_factory=rknn_context)
    number: int = 0
    keep_alive: list[Any] = field(default_factory=list)
    # A, B and C → what rknn.matmul_set_quant_params gave last.
    quant_params: dict[str, Any] = field(default_factory=dict)
    # A, B and C → the memory that rknn.matmul_set_io_mem bound it to.
    bindings: dict[str, TensorMemory] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Return whether it is still there."""
        return bool(self.pointer)


@dataclass(eq=False)
class TensorMemory:
    """A tensor memory; ``parent`` is the context that it was made with, if it was made with one."""

    parent: Context | Matmul | None
    # POINTER(rknn_tensor_mem)
    pointer: Any
    size: int
    number: int = 0
    # Our descriptor of a client's dma-buf or memfd, and our mapping of the part that the memory is.
    fd: int = -1
    mapping: memoryview | None = None

    @property
    def is_alive(self) -> bool:
        """Return whether it is not destroyed yet."""
        return bool(self.pointer)

    def close(self) -> None:
        """Close what keeps a client's memory mapped."""
        self.mapping = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def view(self, offset: int, size: int) -> memoryview:
        """Return a part of the contents, in place; it must not be used after the memory is destroyed."""
        if self.mapping is not None:
            return self.mapping[offset : offset + size]
        address = self.pointer.contents.virt_addr
        return memoryview(bytes_at(address + offset, size)).cast("B")
