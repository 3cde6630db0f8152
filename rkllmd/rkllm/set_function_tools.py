"""rkllm_set_function_tools: tell the model which functions it may call.

C: int rkllm_set_function_tools(LLMHandle handle, const char *system_prompt, const char *tools,
    const char *tool_response_str)

``tools`` is a JSON string in C; here it may be the JSON itself. ``tool_response_str`` is the tag that marks results; a
result comes back as an input with ``"role": "tool"`` (manual 1.3.0).
"""

from __future__ import annotations

from typing import Any

import orjson

from rkllmd.context import Invocation
from rkllmd.errors import InvalidParams
from rkllmd.handles import Model
from rkllmd.method import Kind, Value, method
from rkllmd.rkllm._common import LLM, c_string, success, text

_TOOLS = {"type": ["string", "array", "object"], "description": "the tools as JSON, or as a string of JSON"}


@method(
    Kind.ORDERED,
    [LLM, text("system_prompt"), Value("tools", _TOOLS), text("tool_response_str")],
    group="tools_config",
)
def set_function_tools(
    invocation: Invocation, model: Model, tools: Any, system_prompt: str = "", tool_response_str: str = ""
) -> dict[str, Any]:
    """Set the tools; a string that is left out is empty."""
    if not isinstance(tools, str):
        try:
            tools = orjson.dumps(tools).decode()
        except (TypeError, ValueError):  # nested more deeply than can be written
            raise InvalidParams("tools is nested too deeply.", path="$.tools", keyword="maxDepth", limit=253) from None
    arguments = [c_string(item) for item in (system_prompt, tools, tool_response_str)]
    model.keep_alive.append(arguments)
    invocation.runtime.call("rkllm_set_function_tools", model.pointer, *arguments)
    return success()
