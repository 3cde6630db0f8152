"""The numbers that stand for contexts."""

from __future__ import annotations

from itertools import count
from typing import TypeVar

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError

_Context = TypeVar("_Context")

# A counter that is multiplied by an odd number modulo 2**64 gives each value once. Handles that look like nothing else
# cannot be mistaken for an index or for a handle of another kind.
_ODD = 0x9E3779B97F4A7C15
_numbers = count(1)
_contexts: dict[int, object] = {}


def add(context: object) -> int:
    """Give ``context`` a handle: a uint64, never 0 and never given again."""
    handle = next(_numbers) * _ODD % 2**64
    _contexts[handle] = context
    return handle


def find(handle: int, kind: type[_Context]) -> _Context:
    """Return the context of ``handle``; RKNN_ERR_CTX_INVALID where there is none of this kind."""
    context = _contexts.get(handle)
    if context is None or not isinstance(context, kind):
        raise RknnError(rknn_error.RKNN_ERR_CTX_INVALID, f"there is no context {handle:#x}")
    return context


def remove(handle: int, kind: type[_Context]) -> _Context:
    """Forget ``handle`` and return what it stood for; RKNN_ERR_CTX_INVALID where there is none of this kind."""
    context = find(handle, kind)
    del _contexts[handle]
    return context
