"""The objects behind RKNN's handles: contexts, matmul contexts, tensor memories.

Only the NPU's worker thread touches the parts that belong to C: using a context from two threads has panicked kernels.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import outcome

from rkllmd.abi.c import Array, NativeHandle, Pointer, Struct, bytes_at
from rkllmd.abi.layouts.rknn import rknn_context, rknn_output, rknn_tensor_attr, rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_io_attr
from rkllmd.json_types import JsonObject
from rkllmd.machine.files import FileVersion
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.vision.detached_run import DetachedRun


@dataclass(eq=False)
class Context:
    """A loaded RKNN model."""

    path: str
    size_bytes: int
    flag: int
    pointer: NativeHandle = field(default_factory=lambda: rknn_context())
    number: int = 0
    # The uid that has made it.
    user: int | None = None
    # The hash of its contents, if they came over the socket.
    content: str = ""
    # Of which file at its path it was loaded, if it is one of the daemon's own, which are loaded again for another.
    version: FileVersion | None = None
    # Everything that C may still read: the model's bytes, a library of operators.
    keep_alive: list[object] = field(default_factory=list)
    inputs: list[rknn_tensor_attr] = field(default_factory=list)
    outputs: list[rknn_tensor_attr] = field(default_factory=list)
    # What rknn.query answers without calling C: (command, index) → a C struct.
    answers: dict[tuple[rknn_query_cmd, int], Struct] = field(default_factory=dict)
    # The C array of rknn_outputs_get, until rknn_outputs_release.
    outputs_held: Array[rknn_output] | None = None
    # How many runs there were; also the number of the last one.
    run_count: int = 0
    # The number of the run whose output shapes are in ``outputs``.
    shapes_of_run: int = 0
    # (is an output, index) → the memory that rknn.set_io_mem bound it to, and with which attributes.
    bindings: dict[tuple[bool, int], tuple[TensorMemory, rknn_tensor_attr]] = field(default_factory=dict)
    # The memories given to rknn.set_weight_mem and rknn.set_internal_mem: C uses them until the context is destroyed.
    outside: list[TensorMemory] = field(default_factory=list)
    # An rknn_run with non_block has begun, and rknn_wait was not called yet.
    is_running: bool = False
    # That run, if the runtime can be interrupted.
    detached: DetachedRun | None = None
    # How such a run has ended, if the daemon has waited for it; kept until the client asks.
    ended: outcome.Outcome[None] | None = None
    # Attributes of custom operators as they were read in their init callbacks: for each node its operator and its
    # attributes by name.
    operator_nodes: list[tuple[str, JsonObject]] = field(default_factory=list)

    @property
    def source(self) -> str:
        """Return by what the crash journal knows it: its path, or the hash of its contents."""
        return self.path or self.content

    @property
    def is_alive(self) -> bool:
        """Return whether it is still loaded."""
        return bool(self.pointer)


@dataclass(eq=False)
class Matmul:
    """A matmul context: C = A x B."""

    # As created: one for each shape that it may have. ``shape_index`` says which one is current.
    io_attrs: list[rknn_matmul_io_attr]
    shapes: list[tuple[int, int, int]]
    type: int
    shape_index: int = 0
    pointer: NativeHandle = field(default_factory=lambda: rknn_context())
    number: int = 0
    # The uid that has made it.
    user: int | None = None
    keep_alive: list[object] = field(default_factory=list)
    # A, B and C → what rknn.matmul_set_quant_params gave last, which C may still read.
    quant_params: dict[str, object] = field(default_factory=dict)
    # A, B and C → the memory that rknn.matmul_set_io_mem bound it to.
    bindings: dict[str, TensorMemory] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Return whether it was not destroyed yet."""
        return bool(self.pointer)


@dataclass(eq=False)
class TensorMemory:
    """A tensor memory; ``parent`` is the context that it was made with, if it was made with one."""

    parent: Context | Matmul | None
    pointer: Pointer[rknn_tensor_mem] | None
    size: int
    number: int = 0
    # The uid that has made it.
    user: int | None = None
    # For a client's dma-buf or memfd: our own descriptor of it, and our mapping of the part that is this memory.
    descriptors: Descriptors = NO_DESCRIPTORS
    mapping: memoryview | None = None

    @property
    def is_alive(self) -> bool:
        """Return whether it was not destroyed yet."""
        return bool(self.pointer)

    @property
    def struct(self) -> rknn_tensor_mem:
        """Return the runtime's description of the memory, which must be alive."""
        assert self.pointer is not None
        return self.pointer.contents

    def close(self) -> None:
        """Give up what keeps a client's memory mapped."""
        self.mapping = None
        self.descriptors.close()

    def view(self, offset: int, size: int) -> memoryview:
        """Return a part of the contents, in place; it must not be used after the memory is destroyed."""
        if self.mapping is not None:
            return self.mapping[offset : offset + size]
        address = self.struct.virt_addr
        return memoryview(bytes_at(address + offset, size)).cast("B")
