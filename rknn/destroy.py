"""rknn_destroy: unload a context, with the memories that were made with it.

C: int rknn_destroy(rknn_context context)
"""

from __future__ import annotations

from typing import Any

from rkllmd import rknn_release
from rkllmd.context import Invocation
from rkllmd.method import Kind, method
from rkllmd.rknn_handles import Context
from rknn._common import CONTEXT, MEM, success


@method(Kind.NPU, [CONTEXT], changes=(*CONTEXT.kinds, *MEM.kinds))
def destroy(invocation: Invocation, ctx: Context) -> dict[str, Any]:
    """Unload the context; calls that still wait for it are answered InvalidHandle."""
    rknn_release.destroy(invocation.context, ctx)
    return success()
