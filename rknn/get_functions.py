"""rknn.get_functions: every RKNN method with its C signature, kind and parameters."""

from __future__ import annotations

from typing import Any

from rkllmd.context import Invocation
from rkllmd.discovery import describe_functions
from rkllmd.method import Kind, method


@method(Kind.INSTANT)
def get_functions(invocation: Invocation) -> dict[str, Any]:
    """Return the C functions by their names; rpc.discover has the schemas."""
    return describe_functions(invocation.context.methods, "rknn")
