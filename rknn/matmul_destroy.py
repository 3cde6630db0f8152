"""rknn_matmul_destroy: free a matmul context, with the memories that were made with it.

C: int rknn_matmul_destroy(rknn_matmul_ctx ctx)
"""

from __future__ import annotations

from typing import Any

from rkllmd import rknn_release
from rkllmd.context import Invocation
from rkllmd.method import Kind, method
from rkllmd.rknn_handles import Matmul
from rknn._common import MATMUL, MEM, success


@method(Kind.NPU, [MATMUL], changes=(*MATMUL.kinds, *MEM.kinds))
def matmul_destroy(invocation: Invocation, matmul: Matmul) -> dict[str, Any]:
    """Free it; calls that still wait for it are answered InvalidHandle."""
    rknn_release.destroy(invocation.context, matmul)
    return success()
