"""rkllm.get_constants: groups of C names with their numbers."""

from __future__ import annotations

from rkllmd.abi.layouts.rkllm import CpuMask, LLMCallState, RKLLMInferMode, RKLLMInputType
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.parts import Language

_GROUPS = {
    "CPU_MASKS": CpuMask,
    "LLM_CALL_STATES": LLMCallState,
    "INPUT_TYPES": RKLLMInputType,
    "INFER_MODES": RKLLMInferMode,
}
_CONSTANTS = {group: {item.name: item.value for item in enum} for group, enum in _GROUPS.items()}


@method(Kind.INSTANT, repeatable=True)
def get_constants(language: Language, invocation: Invocation) -> JsonObject:
    """Return the constants; an enum parameter accepts either the number or the name."""
    return _CONSTANTS
