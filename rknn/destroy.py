"""rknn_destroy: unload a context, with the memories that were made with it.

C: int rknn_destroy(rknn_context context)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision import release
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._common import CONTEXT, MEM


@method(
    Kind.NPU, [CONTEXT], changes=(*CONTEXT.types, *MEM.types), fits_between_tokens=False, ends_runs=True, alters="ctx"
)
def destroy(vision: Vision, invocation: Invocation, ctx: Context) -> JsonObject:
    """Unload the context; calls that still wait for it are answered InvalidHandle."""
    release.destroy(vision, ctx)
    return success()
