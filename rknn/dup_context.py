"""rknn_dup_context: another context of the same model, with shared weights.

C: int rknn_dup_context(rknn_context *context_in, rknn_context *context_out)
"""

from __future__ import annotations

from rkllmd.abi.c import byref
from rkllmd.calls.declaration import COnly, Handle, Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import KEEP, check_handles
from rknn._contexts import add

_CONTEXT_IN = Handle("context_in", ("context",), "ctx", aliases=("context", "ctx"))


@method(Kind.NPU, [_CONTEXT_IN, COnly("context_out"), KEEP], changes=_CONTEXT_IN.types, fits_between_tokens=False)
def dup_context(vision: Vision, invocation: Invocation, ctx: Context, keep: bool = False) -> JsonObject:
    """Return a new context; it belongs to the connection that asked, unless keep is set."""
    check_handles(vision, invocation)
    new = Context(
        path=ctx.path,
        content=ctx.content,
        size_bytes=ctx.size_bytes,
        flag=ctx.flag,
        keep_alive=[*ctx.keep_alive],
        outside=[*ctx.outside],
    )
    vision.runtime.call("rknn_dup_context", byref(ctx.pointer), byref(new.pointer))
    return add(vision, invocation, new, keep=keep)
