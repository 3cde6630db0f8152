"""What the function modules share."""

from __future__ import annotations

from typing import Any

from rkllmd.calls.declaration import COnly, Handle, Parameter, Struct, Value
from rkllmd.errors import InvalidParams
from rkllmd.language import placeholders
from rkllmd.language.model import Model
from rkllmd.language.models.loading import give_strings
from rkllmd.language.parts import Language
from rkllmd.language.runs.run_options import SEED, SPECIAL

LLM = Handle("handle", ("llm",), "model")

# rkllm_run and rkllm_run_async take the same.
RUN_PARAMETERS: tuple[Parameter, ...] = (
    LLM,
    Struct("rkllm_input", "RKLLMInput", many=True, example="prompt"),
    Struct("rkllm_infer_params", "RKLLMInferParam", required=False),
    COnly("userdata"),
    SEED,
    SPECIAL,
)


def text(name: str, *aliases: str) -> Value:
    """Return a string parameter that may be left out."""
    return Value(name, {"type": ["string", "null"]}, required=False, aliases=aliases)


def check_strings(model: Model, **values: Any) -> None:
    """Refuse a NUL inside a string, which would end it early in C, and placeholders. Raises InvalidParams."""
    for name, value in values.items():
        if isinstance(value, str):
            placeholders.check_text(value.encode("utf-8", "replace"), model.library.layout, f"$.{name}")
        if isinstance(value, str) and "\0" in value:
            raise InvalidParams(
                f"$.{name} must not contain NUL, which ends a C string.", path=f"$.{name}", keyword="pattern"
            )


def call_with_strings(language: Language, model: Model, function: str, *values: bytes) -> None:
    """Call a C function with strings, which stay alive, and are given again when the model is loaded again."""
    give_strings(language.runtime, model, function, values)
