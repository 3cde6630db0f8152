"""How much memory a graph may take beside its weights: all tensors of its runs come from an arena with a limit.

A graph of a hundred bytes can ask for a tensor of any size (ConstantOfShape, Expand, Tile, Range), from a constant at
its load or from an input at each run. Without a limit, that is the kernel's reason to kill the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models.onnx_runtime import Engine, SessionOptions

# ONNX Runtime computes at the load what follows from constants alone, outside the arena; not tensors larger than that.
# Weights that are stored small become eight times as large at most (4 bits to 32).
_LEAST_FOLDED_BYTES: Final = 2**24
_MOST_TIMES_FOLDED: Final = 8
_NOTHING: Final = 1
_AS_REQUESTED: Final = 1  # ArenaExtendStrategy kSameAsRequested: no more than is needed
_DEFAULT: Final = -1
# ONNX Runtime's words (bfc_arena.cc), and those of C++.
_NO_MEMORY: Final = ("smaller than requested bytes", "bad allocation", "bad_alloc")


def _unlimited() -> None:
    """Return no limit."""


# ONNX Runtime has one environment in a process too.
_limit: Callable[[], int | None] = _unlimited


def bound_by(limit: Callable[[], int | None]) -> None:
    """Let each session that is made from now on take as many bytes at most as ``limit`` returns then; None: any."""
    global _limit
    _limit = limit


def fold_no_more(options: SessionOptions, weight_bytes: int) -> None:
    """Let a load compute no larger tensors than a model with this many bytes of weights can mean."""
    most = max(_LEAST_FOLDED_BYTES, _MOST_TIMES_FOLDED * weight_bytes)
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(most))


@contextmanager
def of_one_session(engine: Engine, options: SessionOptions) -> Iterator[None]:
    """Surround the making of a session: it gets an arena of its own."""
    most = _limit()
    if most is None:
        yield
        return
    options.add_session_config_entry("session.use_env_allocators", "1")
    _register(engine, most)
    try:
        yield
    finally:
        # ONNX Runtime keeps the last one, whose memory would not be given back with its session.
        _register(engine, _NOTHING)


def _register(engine: Engine, most: int) -> None:
    kind = engine.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    info = engine.OrtMemoryInfo("Cpu", kind, 0, engine.OrtMemType.DEFAULT)
    sizes = {
        "max_mem": most,
        "arena_extend_strategy": _AS_REQUESTED,
        "initial_chunk_size_bytes": _DEFAULT,
        "max_dead_bytes_per_chunk": _DEFAULT,
    }
    engine.create_and_register_allocator(info, engine.OrtArenaCfg(sizes))


def shortage(reason: str) -> RknnError | None:
    """Return the error for a run that has failed for want of memory; None if ``reason`` is another one."""
    if not any(words in reason for words in _NO_MEMORY):
        return None
    return RknnError(
        rknn_error.RKNN_ERR_MALLOC_FAIL,
        "the graph's tensors need more memory than was left when it was loaded (memory_reserve_bytes): give smaller "
        f"inputs, or unload something and load it anew. ONNX Runtime: {reason}",
    )
