"""Where the bytes of a model are: a path that ONNX Runtime can open, also for bytes in memory or inside a file.

ONNX Runtime would copy bytes with the GIL held, so they go through an anonymous file in memory (memfd) instead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import TracebackType

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.c_memory import view
from rkllmd.portable.rknn.errors import RknnError, require

# The first bytes of files that people take for ONNX models, and what to do instead.
_OTHERS = {
    b"RKNN": "this is a .rknn model, which only an NPU can run; give the .onnx model that it was made from",
    b"GGUF": "this is a language model (GGUF); load it with rkllm.init",
}
_MAGIC_BYTES = 4
_CHUNK = 2**24


class ModelFile:
    """A file with a model in it; ``size`` is in bytes. Close it when the model is loaded: then no session needs it.

    Raises RKNN_ERR_MODEL_INVALID if there is no such file, or no such part of it, or if it plainly is no ONNX model.
    """

    def __init__(self, path: str, size: int, descriptor: int | None) -> None:
        self.path = path
        self.size = size
        self._descriptor = descriptor

    @classmethod
    def from_memory(cls, address: int, size: int, offset: int, part: int) -> ModelFile:
        """Take ``part`` bytes (0: all that follow) at ``offset`` of the ``size`` bytes at ``address``."""
        part = _check_part(size, offset, part)
        content = view(address + offset, part).data
        return cls._copy(part, lambda position: content[position : position + _CHUNK])

    @classmethod
    def from_path(cls, path: str, offset: int, part: int) -> ModelFile:
        """Take the file at ``path``, or ``part`` bytes (0: all that follow) of it at ``offset``."""
        try:
            # O_NONBLOCK: if it is a pipe, this does not wait for somebody who writes to it.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RknnError(rknn_error.RKNN_ERR_MODEL_INVALID, f"{path} cannot be opened: {reason}") from error
        try:
            status = os.fstat(descriptor)
            require(stat.S_ISREG(status.st_mode), rknn_error.RKNN_ERR_MODEL_INVALID, f"{path} is not a file")
            wanted = _check_part(status.st_size, offset, part)
            if wanted == status.st_size:
                _check_magic(os.pread(descriptor, _MAGIC_BYTES, 0))
                # Under its own name, so that weights in files beside it are found.
                return cls(path, wanted, None)
            end = offset + wanted
            return cls._copy(
                wanted,
                lambda position: os.pread(descriptor, min(_CHUNK, end - offset - position), offset + position),
            )
        finally:
            os.close(descriptor)

    @classmethod
    def _copy(cls, size: int, read: Callable[[int], bytes | memoryview]) -> ModelFile:
        descriptor = os.memfd_create("rknn-model", os.MFD_CLOEXEC)
        made = cls(f"/proc/self/fd/{descriptor}", size, descriptor)
        try:
            position = 0
            while position < size:
                chunk = read(position)
                require(len(chunk), rknn_error.RKNN_ERR_MODEL_INVALID, "the model's file became shorter")
                if position == 0:
                    _check_magic(bytes(chunk[:_MAGIC_BYTES]))
                position += os.write(descriptor, chunk)
        except BaseException:
            made.close()
            raise
        return made

    def again(self) -> ModelFile:
        """Return another object for the same file, which is closed independently of this one."""
        if self._descriptor is None:
            return ModelFile(self.path, self.size, None)
        descriptor = os.dup(self._descriptor)
        return ModelFile(f"/proc/self/fd/{descriptor}", self.size, descriptor)

    def close(self) -> None:
        """Let the copy go, if there is one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_part(size: int, offset: int, part: int) -> int:
    part = part or size - offset
    if offset < 0 or part <= 0 or offset + part > size:
        raise RknnError(
            rknn_error.RKNN_ERR_MODEL_INVALID, f"a model of {part} bytes at {offset} is not within {size} bytes"
        )
    return part


def _check_magic(first: bytes) -> None:
    if first in _OTHERS:
        raise RknnError(rknn_error.RKNN_ERR_MODEL_INVALID, _OTHERS[first])
