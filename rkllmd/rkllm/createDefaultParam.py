"""rkllm_createDefaultParam: the runtime's own defaults, which rkllm.init starts from.

C: RKLLMParam rkllm_createDefaultParam()
"""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.method import Kind, method


@method(Kind.INSTANT)
def create_default_param(invocation: Invocation) -> dict[str, Any]:
    """Return every field of RKLLMParam by its C name."""
    return invocation.runtime.default_param()
