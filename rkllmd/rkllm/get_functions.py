"""rkllm.get_functions: every RKLLM method with its C signature, kind and parameters."""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.discovery import describe_functions
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.registry import known
from rkllmd.json_types import JsonObject
from rkllmd.language.parts import Language


@method(Kind.INSTANT, repeatable=True)
def get_functions(language: Language, invocation: Invocation) -> JsonObject:
    """Return the methods by name; rpc.discover has the schemas."""
    return describe_functions(known(), "rkllm")
