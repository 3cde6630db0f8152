"""What the function modules share."""

from __future__ import annotations

from typing import Any

from rkllmd.errors import InvalidParams
from rkllmd.method import COnly, Handle, Parameter, Struct, Value

LLM = Handle("handle")

# rkllm_run and rkllm_run_async take the same.
RUN_PARAMETERS: tuple[Parameter, ...] = (
    LLM,
    Struct("rkllm_input", "RKLLMInput", many=True),
    Struct("rkllm_infer_params", "RKLLMInferParam", required=False),
    COnly("userdata"),
)


def success(**members: Any) -> dict[str, Any]:
    """Return the result of a function that only reports a status, and what it set."""
    return {"success": True, "status": 0, **members}


def text(name: str) -> Value:
    """Return a string parameter that may be left out."""
    return Value(name, {"type": ["string", "null"]}, required=False)


def c_string(value: str | None) -> bytes:
    """Return a string as C takes it. Raises InvalidParams for a NUL inside, which would end it early."""
    if value and "\0" in value:
        raise InvalidParams("A string for C holds no NUL character.", keyword="pattern")
    return (value or "").encode()
