"""rkllm.get_constants: groups of full C names to numbers."""

from __future__ import annotations

from typing import Any

from rkllmd.abi.layouts.rkllm import CpuMask, LLMCallState, RKLLMInferMode, RKLLMInputType
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.language.parts import Language

_GROUPS = {
    "CPU_MASKS": CpuMask,
    "LLM_CALL_STATES": LLMCallState,
    "INPUT_TYPES": RKLLMInputType,
    "INFER_MODES": RKLLMInferMode,
}
_CONSTANTS = {group: {item.name: item.value for item in enum} for group, enum in _GROUPS.items()}


@method(Kind.INSTANT, repeatable=True)
def get_constants(language: Language, invocation: Invocation) -> dict[str, Any]:
    """Return the constants; an enum parameter takes either the number or the name."""
    return _CONSTANTS
