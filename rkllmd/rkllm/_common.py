"""What the function modules share."""

from __future__ import annotations

from rkllmd.calls.declaration import COnly, Handle, Parameter, StructParameter, Value
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json
from rkllmd.language import placeholders
from rkllmd.language.chats.messages import MESSAGES, TOOLS
from rkllmd.language.model import Model
from rkllmd.language.runs.answers import RAW
from rkllmd.language.runs.run_options import BARE, FORMAT, LOGPROBS, SEED, SPECIAL, STOP, SUFFIX, TOOL_CHOICE

LLM = Handle("handle", ("llm",), "model")

# Those of rkllm_run and rkllm_run_async; as the functions get them: RunArguments in language/runs/run.py.
RUN_PARAMETERS: tuple[Parameter, ...] = (
    LLM,
    StructParameter("rkllm_input", "RKLLMInput", many=True, example="prompt", replaced_by=("messages", "prompt_input")),
    StructParameter("rkllm_infer_params", "RKLLMInferParam", required=False),
    COnly("userdata"),
    SEED,
    SPECIAL,
    STOP,
    BARE,
    SUFFIX,
    MESSAGES,
    TOOLS,
    RAW,
    FORMAT,
    TOOL_CHOICE,
    LOGPROBS,
)


def text(name: str, *aliases: str) -> Value:
    """Return a string parameter that may be left out."""
    return Value(name, {"type": ["string", "null"]}, required=False, aliases=aliases)


def check_strings(model: Model, **values: Json) -> None:
    """Refuse placeholders in strings, and a NUL, which would end a string early in C. Raises InvalidParams."""
    for name, value in values.items():
        if isinstance(value, str):
            placeholders.check_text(value.encode("utf-8", "replace"), model.library.layout, f"$.{name}")
        if isinstance(value, str) and "\0" in value:
            raise InvalidParams(
                f"$.{name} must not contain NUL, which ends a C string.", path=f"$.{name}", keyword="pattern"
            )
