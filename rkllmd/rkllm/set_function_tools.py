"""rkllm_set_function_tools: tell the model which functions it may call.

C: int rkllm_set_function_tools(LLMHandle handle, const char *system_prompt, const char *tools,
    const char *tool_response_str)

``tools`` is a string of JSON in C; here it may also be the JSON itself. ``tool_response_str`` is the tag that marks
results; the client gives a result back as an input with ``"role": "tool"`` (manual 1.3.0).
"""

from __future__ import annotations

from typing import Final

import orjson

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.language import conversations, placeholders
from rkllmd.language.model import Model
from rkllmd.language.models.native import give_strings
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM, check_strings, text

# More than any context holds. A string is parsed on the event loop, which takes 8 ms for so many brackets.
_MOST_CHARACTERS: Final = 2**18
_MOST_FUNCTIONS: Final = 1024
_TOOLS = {
    "type": ["string", "array", "object", "null"],
    "maxLength": _MOST_CHARACTERS,
    "description": "the tools as JSON, or as a string of JSON",
}

_FUNCTIONS: Final = Value(
    "functions",
    {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}},
            "required": ["name"],
        },
        "maxItems": _MOST_FUNCTIONS,
        "description": "Instead of tools: bare functions, each of which becomes a tool.",
    },
    required=False,
    in_c=False,
)
_CHOICE: Final = Value(
    "tool_choice",
    {"enum": ["auto", None], "description": "The model always chooses."},
    required=False,
    in_c=False,
)


def _check(
    language: Language,
    invocation: Invocation,
    model: Model,
    tools: Json = None,
    functions: list[JsonObject] | None = None,
    tool_choice: str | None = None,
    **values: Json,
) -> None:
    """Refuse tools that are not JSON: the model would get nonsense, and nobody would notice. Raises InvalidParams."""
    if tools is None and functions is None:
        detail = "rkllm.set_function_tools needs tools (or functions)."
        raise InvalidParams(detail, path="$.tools", keyword="required")
    if tools is not None and functions is not None:
        detail = "functions is given beside tools: give either."
        raise InvalidParams(detail, path="$.functions", keyword="oneOf")
    check_strings(model, tools=tools, **values)
    if not isinstance(tools, str):
        placeholders.check_text(_tools_text(tools), model.library.layout, "$.tools")
    if isinstance(tools, str) and tools.strip():  # an empty one takes the tools away
        try:
            plain = orjson.dumps(orjson.loads(tools))
        except orjson.JSONDecodeError as error:
            raise InvalidParams(
                f"tools is a string that is not JSON: {error}.", path="$.tools", keyword="format", limit="json"
            ) from None
        placeholders.check_text(plain, model.library.layout, "$.tools")  # a JSON reader takes \u003c for "<"


@method(
    Kind.ORDERED,
    [
        LLM,
        text("system_prompt"),
        Value("tools", _TOOLS, required=False),
        text("tool_response_str"),
        _FUNCTIONS,
        _CHOICE,
    ],
    check=_check,
    group="tools_config",
    alters="model",
)
def set_function_tools(
    language: Language,
    invocation: Invocation,
    model: Model,
    tools: Json = None,
    system_prompt: str = "",
    tool_response_str: str = "",
    functions: list[JsonObject] | None = None,
    tool_choice: str | None = None,
) -> JsonObject:
    """Set the tools; strings that are left out are empty."""
    if functions is not None:
        tools = [{"type": "function", "function": function} for function in functions]
    arguments = [system_prompt.encode(), _tools_text(tools), tool_response_str.encode()]
    with conversations.change(language, invocation, model):
        give_strings(language.runtime, model, "rkllm_set_function_tools", arguments)
    language.remembered.keep(model)
    return success()


def _tools_text(tools: Json) -> bytes:
    return tools.encode() if isinstance(tools, str) else orjson.dumps(tools)
