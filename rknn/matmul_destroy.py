"""rknn_matmul_destroy: free a matmul context, with the memories that were made with it.

C: int rknn_matmul_destroy(rknn_matmul_ctx ctx)
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.vision import release
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rknn._common import MATMUL, MEM


@method(Kind.NPU, [MATMUL], changes=(*MATMUL.types, *MEM.types), fits_between_tokens=False, alters="matmul")
def matmul_destroy(vision: Vision, invocation: Invocation, matmul: Matmul) -> JsonObject:
    """Free it; calls that still wait for it are answered InvalidHandle."""
    release.destroy(vision, matmul)
    return success()
