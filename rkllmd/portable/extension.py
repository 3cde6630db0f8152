"""The functions that the portable library has beside RKLLM's: rkllmd/portable/rkllm/functions/extension.hpp."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DESCRIPTION_BYTES: Final = 1024

# Byte offsets [begin, end) into a prompt.
Span = tuple[int, int]
# No prompt is longer.
ALL: Final[tuple[Span, ...]] = ((0, 2**31),)


@dataclass(frozen=True)
class Description:
    """What a loaded model is like; ``chat_template`` is "model", "none", "unknown" or "set"."""

    context_len: int
    trained_context_len: int
    context_bytes: int
    threads: int
    chat_template: str


class Extension:
    """The functions of the library at ``path``, which may be loaded already."""

    def __init__(self, path: Path) -> None:
        dll = ctypes.CDLL(str(path))
        self._next_run, self._describe, self._engine = (
            dll.rkllm_portable_next_run,
            dll.rkllm_portable_describe,
            dll.rkllm_portable_engine,
        )
        self._next_run.argtypes = [c_void_p, POINTER(c_uint32), POINTER(c_size_t), c_size_t]
        self._describe.argtypes = [c_void_p, c_char_p, c_size_t]
        self._describe.restype = c_int
        self._engine.argtypes = []
        self._engine.restype = c_char_p

    @classmethod
    def of(cls, path: Path) -> Extension | None:
        """Return the functions of the library at ``path``, or None if it has only those of RKLLM."""
        try:
            return cls(path)
        except AttributeError:
            return None

    def next_run(self, handle: c_void_p, seed: int | None, meant: Sequence[Span] = ()) -> int:
        """Set the seed of the handle's next run, and where its text has control tokens, not text; return the status."""
        offsets = (c_size_t * (2 * len(meant)))(*(offset for span in meant for offset in span))
        return int(self._next_run(handle, None if seed is None else byref(c_uint32(seed)), offsets, len(meant)))

    def describe(self, handle: c_void_p) -> Description | None:
        """Return what the loaded model is like, or None if the library does not say."""
        text = ctypes.create_string_buffer(_DESCRIPTION_BYTES)
        if not 0 < self._describe(handle, text, len(text)) < len(text):
            return None
        return Description(**json.loads(text.value))

    def engine(self) -> str:
        """Return what the engine was compiled for, as llama.cpp says it."""
        return str(self._engine().decode("utf-8", "replace"))
