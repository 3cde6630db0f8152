"""rkllm_createDefaultParam: the runtime's own defaults, which rkllm.init starts from.

C: RKLLMParam rkllm_createDefaultParam()
"""

from __future__ import annotations

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.parts import Language


@method(Kind.INSTANT, repeatable=True)
def create_default_param(language: Language, invocation: Invocation) -> JsonObject:
    """Return every field of RKLLMParam by its C name."""
    return language.runtime.default_param()
