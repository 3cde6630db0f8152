"""The functions that the portable library has beside RKLLM's: rkllmd/portable/rkllm/functions/extension.hpp."""

from __future__ import annotations

import ctypes
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Final, NamedTuple

from rkllmd.abi.llguidance import Vocabulary
from rkllmd.quick_dataclass import dataclass

_DESCRIPTION_BYTES: Final = 1024
# Those of 21 tokens, as a rule.
_LIKELY_BYTES: Final = 1024

# The kind of a token that ends an answer.
_ENDS: Final = re.compile(b"\x01")

# Byte offsets [begin, end) into a prompt.
Span = tuple[int, int]
# No prompt is longer.
ALL: Final[tuple[Span, ...]] = ((0, 2**31),)


# Flags of rkllm_portable_next_run.
_BARE: Final = 1
_REUSE: Final = 2
_SHOW_SPECIAL: Final = 4
_PART: Final = 8
_THINKING: Final = 16


@dataclass(frozen=True, slots=True)
class NextRun:
    """What the next run of a handle, or an entry of it, does that C's RKLLM has no field for.

    ``meant``: where its text has control tokens, not text. ``bare``: no template stands around the text. ``reuse``: the
    text is a conversation from its beginning, and what the cache has in common with it stays there. ``show_special``:
    control tokens that the model generates are shown, except for the one that ends the run.
    """

    seed: int | None = None
    meant: Sequence[Span] = ()
    bare: bool = False
    reuse: bool = False
    show_special: bool = False


# Called with the token that was chosen last (-1: none), the one that the model likes best at the beginning (else -1),
# the address of the bits, and how many 32-bit words they are.
Guide = Callable[[int, int, int, int], None]
_GUIDE: Final = CFUNCTYPE(c_int, c_void_p, c_int32, c_int32, c_void_p, c_size_t)


class Likely(NamedTuple):
    """A token that was chosen, or might have been: the logarithm of its probability, and what it stands for."""

    token_id: int
    logprob: float
    text: bytes


def _likely(data: bytes) -> Iterator[Likely]:
    at = 0
    while at < len(data):
        token_id, logprob, length = struct.unpack_from("=ifI", data, at)
        at += 12 + length
        yield Likely(token_id, logprob, data[at - length : at])


@dataclass(frozen=True, slots=True)
class Counted:
    """How a text is counted: with the model's template around it, ``bare``, or as a ``part`` of a prompt.

    ``meant``: where it has control tokens, not text. ``thinking``: the answer may begin with thoughts.
    """

    meant: Sequence[Span] = ()
    bare: bool = False
    part: bool = False
    thinking: bool = False


@dataclass(frozen=True)
class Description:
    """What a loaded model is like; ``chat_template`` is "model", "none", "unknown" or "set".

    ``bos_token``, ``eos_token``: what begins a text and ends it; empty for a model that has none.
    """

    context_len: int
    trained_context_len: int
    context_bytes: int
    threads: int
    chat_template: str
    bos_token: str
    eos_token: str


class Extension:
    """The functions of the library at ``path``, which may be loaded already."""

    def __init__(self, path: Path) -> None:
        dll = ctypes.CDLL(str(path))
        self._next_run, self._describe, self._engine = (
            dll.rkllm_portable_next_run,
            dll.rkllm_portable_describe,
            dll.rkllm_portable_engine,
        )
        self._reused_tokens = dll.rkllm_portable_reused_tokens
        self._count_tokens = dll.rkllm_portable_count_tokens
        self._count_tokens.argtypes = [c_void_p, c_char_p, POINTER(c_size_t), c_size_t, c_int]
        self._take_state, self._put_state = dll.rkllm_portable_take_state, dll.rkllm_portable_put_state
        self._next_run.argtypes = [c_void_p, POINTER(c_uint32), POINTER(c_size_t), c_size_t, c_int]
        self._reused_tokens.argtypes = [c_void_p, c_int]
        self._take_state.argtypes = self._put_state.argtypes = [c_void_p, c_void_p, c_size_t]
        self._take_state.restype = c_int64
        self._describe.argtypes = [c_void_p, c_char_p, c_size_t]
        self._describe.restype = c_int
        self._next_entry = dll.rkllm_portable_next_entry
        self._next_entry.argtypes = [c_void_p, c_int, POINTER(c_uint32), POINTER(c_size_t), c_size_t, c_int]
        self._engine.argtypes = []
        self._engine.restype = c_char_p

        self._logprobs_next_run, self._logprobs = dll.rkllm_portable_logprobs_next_run, dll.rkllm_portable_logprobs
        self._logprobs_next_run.argtypes = [c_void_p, c_int]
        self._logprobs.argtypes = [c_void_p, c_int, c_char_p, c_size_t]
        self._logprobs.restype = c_int64
        self._guide_next_run, self._vocabulary = dll.rkllm_portable_guide_next_run, dll.rkllm_portable_vocabulary
        self._guide_next_run.argtypes = [c_void_p, _GUIDE, c_void_p]
        self._vocabulary.argtypes = [c_void_p, c_char_p, c_size_t]
        self._vocabulary.restype = c_int64

    @classmethod
    def of(cls, path: Path) -> Extension | None:
        """Return the functions of the library at ``path``, or None if it has only those of RKLLM."""
        try:
            return cls(path)
        except AttributeError:
            return None

    def next_run(self, handle: c_void_p, options: NextRun) -> int:
        """Set the options of the handle's next run; return the status."""
        return int(self._next_run(handle, *_arguments(options)))

    def next_entry(self, handle: c_void_p, sequence: int, options: NextRun) -> int:
        """Add an entry to the handle's next run, read in this sequence of the cache; return the status.

        The run has those that were added and no others, in the order of its inputs.
        """
        return int(self._next_entry(handle, sequence, *_arguments(options)))

    def count_tokens(self, handle: c_void_p, text: bytes, options: Counted) -> int:
        """Return how many tokens a text has; negative after an error."""
        chosen = ((_BARE, options.bare), (_PART, options.part), (_THINKING, options.thinking))
        flags = sum(flag for flag, is_wanted in chosen if is_wanted)
        return int(self._count_tokens(handle, text, _offsets(options.meant), len(options.meant), flags))

    def reused_tokens(self, handle: c_void_p, entry: int = 0) -> int:
        """Return how many tokens an entry of the last run has found in the cache; negative after an error.

        The callback of a run may ask too.
        """
        return int(self._reused_tokens(handle, entry))

    def take_state(self, handle: c_void_p) -> bytearray | None:
        """Return what the cache holds, as the bytes of a prompt cache's file; None after an error.

        Raises MemoryError.
        """
        size = int(self._take_state(handle, None, 0))
        if size <= 0:
            return None
        state = bytearray(size)
        taken = int(self._take_state(handle, _address(state), size))
        return state if taken == size else None

    def put_state(self, handle: c_void_p, state: bytearray) -> int:
        """Put what was taken back into the cache, in the place of what is there; return the status."""
        return int(self._put_state(handle, _address(state), len(state)))

    def guide_next_run(self, handle: c_void_p, guide: Guide) -> object:
        """Have ``guide`` say which tokens the handle's next run may choose; keep what is returned until that has ended.

        It is for the entry that was added last, if any was.
        Raises ValueError if the library refuses.
        """

        def call(_userdata: int | None, last: int, likeliest: int, allowed: int, words: int) -> int:
            try:
                guide(last, likeliest, allowed, words)
            except BaseException:  # nothing may reach C, SystemExit included; the guide knows what it was
                return -1
            return 0

        function = _GUIDE(call)
        if self._guide_next_run(handle, function, None) != 0:
            raise ValueError("rkllm_portable_guide_next_run failed")
        return function

    def logprobs_next_run(self, handle: c_void_p, top: int) -> int:
        """Have each token of the handle's next run told with its probability and those of the ``top`` likeliest.

        It is for the entry that was added last, if any was. Return the status.
        """
        return int(self._logprobs_next_run(handle, top))

    def logprobs(self, handle: c_void_p, entry: int = 0) -> list[Likely]:
        """Return the token with which the callback comes that asks, then the likeliest ones; none if unknown."""
        buffer = ctypes.create_string_buffer(_LIKELY_BYTES)
        size = int(self._logprobs(handle, entry, buffer, len(buffer)))
        if size > len(buffer):
            buffer = ctypes.create_string_buffer(size)
            self._logprobs(handle, entry, buffer, size)
        return list(_likely(buffer.raw[: max(0, size)]))

    def vocabulary(self, handle: c_void_p) -> Vocabulary:
        """Return what each token of the model stands for. Raises ValueError if the library does not say."""
        size = int(self._vocabulary(handle, None, 0))
        if size < 0:
            raise ValueError("rkllm_portable_vocabulary failed")
        buffer = ctypes.create_string_buffer(size)
        self._vocabulary(handle, buffer, size)
        data = buffer.raw
        (count,) = struct.unpack_from("=I", data)
        kinds_at = 4 + 4 * count
        texts_at = kinds_at + count
        ends = tuple(found.start() for found in re.finditer(_ENDS, data[kinds_at:texts_at]))
        return Vocabulary(data[4:kinds_at], data[texts_at:], ends)

    def describe(self, handle: c_void_p) -> Description | None:
        """Return what the loaded model is like, or None if the library does not say."""
        text = ctypes.create_string_buffer(_DESCRIPTION_BYTES)
        if not 0 < self._describe(handle, text, len(text)) < len(text):
            return None
        found = json.loads(text.value)
        tokens = {name: bytes.fromhex(found[name]).decode("utf-8", "replace") for name in ("bos_token", "eos_token")}
        return Description(**{**found, **tokens})

    def engine(self) -> str:
        """Return what the engine was compiled for, as llama.cpp says it."""
        return str(self._engine().decode("utf-8", "replace"))


def _address(data: bytearray) -> ctypes.Array[ctypes.c_char]:
    """Return an array that is the same memory, so that C gets its address."""
    return (ctypes.c_char * len(data)).from_buffer(data)


def _arguments(options: NextRun) -> tuple[object, ...]:
    """Return the seed, the spans, their number and the flags, as the library takes them."""
    meant, seed = options.meant, options.seed
    chosen = ((_BARE, options.bare), (_REUSE, options.reuse), (_SHOW_SPECIAL, options.show_special))
    flags = sum(flag for flag, is_wanted in chosen if is_wanted)
    return None if seed is None else byref(c_uint32(seed)), _offsets(meant), len(meant), flags


def _offsets(spans: Sequence[Span]) -> ctypes.Array[c_size_t]:
    return (c_size_t * (2 * len(spans)))(*(offset for span in spans for offset in span))
