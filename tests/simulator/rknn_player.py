"""Call RKNN's simulator by ctypes, for its own tests."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rkllmd.abi.architecture import NativeHandle
from rkllmd.abi.layouts import rknn, rknn_custom_op, rknn_matmul
from rkllmd.abi.layouts.rknn_constants import rknn_flag, rknn_query_cmd, rknn_tensor_format, rknn_tensor_type

SIGNATURES = {**rknn.SIGNATURES, **rknn_matmul.SIGNATURES, **rknn_custom_op.SIGNATURES}
Query = rknn_query_cmd
Type = rknn_tensor_type
Format = rknn_tensor_format
Flag = rknn_flag


class RknnSimulator:
    """A loaded simulator library."""

    def __init__(self, path: Path) -> None:
        self.dll = ctypes.CDLL(str(path))
        for name, signature in SIGNATURES.items():
            function = getattr(self.dll, name)
            function.argtypes = signature.argtypes
            function.restype = signature.restype

    def __getattr__(self, name: str) -> Any:
        """Return a C function: ``simulator.rknn_destroy(context)``."""
        return getattr(self.dll, name)

    def live(self) -> tuple[int, int, int]:
        """Return how many contexts, memories and matmul contexts are alive."""
        counts = [ctypes.c_int() for _ in range(3)]
        self.dll.rknn_simulator_live(*map(ctypes.byref, counts))
        return counts[0].value, counts[1].value, counts[2].value

    def init(self, model: bytes | Path, flag: int = 0, extend: Any = None) -> RknnContext:
        """Load a model: its bytes, or the path of its file."""
        return RknnContext(self, model, flag, extend)

    def mem(self, context: NativeHandle, content: bytes) -> Any:
        """Return a pointer to a new memory with this content."""
        memory = self.rknn_create_mem(context, len(content))
        ctypes.memmove(memory.contents.virt_addr, content, len(content))
        return memory


def content(memory: Any) -> bytes:
    """Return what a memory holds."""
    return ctypes.string_at(memory.contents.virt_addr + memory.contents.offset, memory.contents.size)


class RknnContext:
    """A loaded model. ``status`` is what rknn_init returned."""

    def __init__(self, simulator: RknnSimulator, model: bytes | Path, flag: int, extend: Any) -> None:
        self.simulator = simulator
        self.handle = rknn.rknn_context()
        given = model if isinstance(model, bytes) else str(model).encode() + b"\0"
        size = len(given) if isinstance(model, bytes) else 0
        self.status: int = simulator.dll.rknn_init(ctypes.byref(self.handle), given, size, flag, extend)

    def __getattr__(self, name: str) -> Any:
        """Return a C function with this context as its first argument: ``context.run(None)``."""
        function = getattr(self.simulator.dll, f"rknn_{name}")
        return lambda *arguments: function(self.handle, *arguments)

    def ask(self, command: int, struct: Any) -> Any:
        """Return ``struct`` filled by rknn_query."""
        assert self.query(command, ctypes.byref(struct), ctypes.sizeof(struct)) == 0
        return struct

    def attr(self, command: int, index: int = 0) -> Any:
        """Return an rknn_tensor_attr."""
        return self.ask(command, rknn.rknn_tensor_attr(index=index))

    def set_input(self, data: bytes, kind: int = Type.RKNN_TENSOR_UINT8, index: int = 0, **fields: Any) -> int:
        """Call rknn_inputs_set with one input."""
        fields = {"fmt": Format.RKNN_TENSOR_NHWC, "size": len(data), **fields}
        buffer = ctypes.create_string_buffer(data, len(data))
        given = rknn.rknn_input(index=index, buf=ctypes.addressof(buffer), type=kind, **fields)
        return int(self.inputs_set(1, ctypes.byref(given)))

    def outputs(self, count: int = 1, *, want_float: bool = False) -> list[bytes]:
        """Get all outputs, release them, return their bytes."""
        array = (rknn.rknn_output * count)(*(rknn.rknn_output(want_float, 0, index) for index in range(count)))
        assert self.outputs_get(count, array, None) == 0
        found = [ctypes.string_at(output.buf, output.size) for output in array]
        assert self.outputs_release(count, array) == 0
        return found

    def play(self, data: bytes, **fields: Any) -> list[bytes]:
        """Set one input as it is, run, return the outputs."""
        assert self.set_input(data, pass_through=1, **fields) == 0
        assert self.run(None) == 0
        return self.outputs()


class Matmul:
    """A matmul context with its memories."""

    def __init__(self, simulator: RknnSimulator, info: Any, shapes: Sequence[tuple[int, int, int]] = ()) -> None:
        self.simulator = simulator
        self.handle = rknn.rknn_context()
        self.memories: list[Any] = []
        self.attrs = (rknn_matmul.rknn_matmul_io_attr * max(1, len(shapes)))()
        if shapes:
            array = (rknn_matmul.rknn_matmul_shape * len(shapes))(*(rknn_matmul.rknn_matmul_shape(*s) for s in shapes))
            self.status: int = simulator.rknn_matmul_create_dynamic_shape(
                ctypes.byref(self.handle), ctypes.byref(info), len(shapes), array, self.attrs
            )
        else:
            self.status = simulator.rknn_matmul_create(ctypes.byref(self.handle), ctypes.byref(info), self.attrs)

    def bind(self, a: bytes, b: bytes, shape: int = 0) -> None:
        """Make and bind the three memories."""
        attr = self.attrs[shape]
        for data, matrix in ((a, attr.A), (b, attr.B), (bytes(attr.C.size), attr.C)):
            memory = self.simulator.mem(self.handle, data)
            self.memories.append(memory)
            assert self.simulator.rknn_matmul_set_io_mem(self.handle, memory, ctypes.byref(matrix)) == 0

    def multiply(self) -> bytes:
        """Run and return C."""
        assert self.simulator.rknn_matmul_run(self.handle) == 0
        return content(self.memories[-1])

    def close(self) -> None:
        """Destroy the memories, then the context."""
        for memory in self.memories:
            assert self.simulator.rknn_destroy_mem(self.handle, memory) == 0
        assert self.simulator.rknn_matmul_destroy(self.handle) == 0
