"""Requests for /v1/messages and /v1/messages/count_tokens, as the parameters of the daemon's methods."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway import conversation, sampling
from rkllmd.gateway.anthropic import threads, turns
from rkllmd.gateway.anthropic.documents import WITHOUT_EFFECT
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.run import Wanted
from rkllmd.json_types import Json, JsonObject

# These say who asks, where a prompt is kept, or what Anthropic's servers may forget of a long one: here it is read as a
# whole, or refused.
_WITHOUT_EFFECT: Final = ("metadata", "context_management", *WITHOUT_EFFECT)
# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
    "mcp_servers": ([],),
}
# Parameters that say how a model is to answer, and not what it is told.
_OF_ANSWER: Final = ("tool_choice", "format")
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
# Arguments fit their schema where a call must be made, whatever "strict" says.
_TOOL_WITHOUT_EFFECT: Final = ("strict", "eager_input_streaming", *WITHOUT_EFFECT)
_TOOL_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"defer_loading": (False,), "allowed_callers": (["direct"],)}


def read(body: Json) -> Wanted:
    """Return a request for an answer. Raises WrongField or Failure for what is wrong or can't be done."""
    fields = Fields(body)
    threads.take(fields)  # first: one that goes on with a thread has a part of its conversation only
    params, single_call, hides_thoughts = _prompt(fields)
    if (limit := fields.integer("max_tokens", 1)) is not None:
        params["max_new_tokens"] = limit
        fields.becomes("max_tokens", "max_new_tokens")
    if stop := fields.texts("stop_sequences"):
        params["stop"] = stop
        fields.becomes("stop_sequences", "stop")
    params |= sampling.take(fields)
    streams = fields.flag("stream") or False
    return Wanted(
        _end(fields, params),
        params,
        streams,
        single_call=single_call,
        for_answer={"hides_thoughts": hides_thoughts},
        names=fields.names,
    )


def read_counted(body: Json) -> Wanted:
    """Return a request that wants to know how long its prompt is. Raises WrongField."""
    fields = Fields(body)
    params, _, _ = _prompt(fields)
    model = _end(fields, params)
    told = {name: value for name, value in params.items() if name not in _OF_ANSWER}
    return Wanted(model, told, names=fields.names)


def _prompt(fields: Fields) -> tuple[JsonObject, bool, bool]:
    """Take what the model is told, whether the client takes one call only, and whether it wants no thoughts."""
    params: JsonObject = {"messages": turns.take(fields)}
    given = fields.objects("tools") or ()
    tools: list[Json] = []
    for index, item in enumerate(given):
        where = f"tools[{index}]"
        tools.append(_tool(Fields(item, where)))
        fields.becomes(where, f"{where}.function")
        fields.becomes(f"{where}.input_schema", f"{where}.function.parameters")
    choice, single_call = _tool_choice(fields)
    params |= conversation.tools(fields, tools, choice)
    thinking = fields.inner("thinking")
    kind = thinking.choice("type", ("enabled", "adaptive", "disabled"))
    # How many of its tokens are thoughts, the model decides.
    thinking.without_effect(("budget_tokens",))
    hides_thoughts = thinking.choice("display", ("summarized", "omitted")) == "omitted"
    thinking.end()
    if kind is not None:
        params["enable_thinking"] = kind != "disabled"
    return params, single_call, hides_thoughts


def _end(fields: Fields, params: JsonObject) -> str | None:
    """Take the rest of both requests; return the model's name."""
    output = fields.inner("output_config")
    output.choice("effort", _EFFORTS)
    # As it was called in its first beta, which clients of that time still send.
    for form in (fields.inner("output_format"), output.inner("format")):
        kind, schema = form.choice("type", ("json_schema",)), form.any("schema")
        form.end()
        if kind is not None:
            if not isinstance(schema, dict):
                raise form.wrong("schema", "is missing: give the JSON Schema of the answer.")
            params["format"] = schema
            form.becomes("schema", "format")
    output.end()
    model = fields.text("model")
    fields.neutral(_NEUTRAL)
    fields.without_effect(_WITHOUT_EFFECT)
    fields.end()
    return model


def _tool(fields: Fields) -> JsonObject:
    """Take a function that the model may call."""
    kind = fields.text("type")
    if kind not in (None, "custom"):
        raise fields.wrong(
            "type",
            f"can only be custom: {kind} is a tool that Anthropic's own servers or models know, so describe one with a "
            "name and an input_schema.",
        )
    name, description = fields.needed("name"), fields.text("description")
    schema = fields.any("input_schema")
    if not isinstance(schema, dict):
        raise fields.wrong("input_schema", "is missing: give the JSON Schema of the arguments.")
    if examples := fields.objects("input_examples"):
        schema = {**schema, "examples": examples}
    fields.neutral(_TOOL_NEUTRAL)
    fields.without_effect(_TOOL_WITHOUT_EFFECT)
    fields.end()
    described: JsonObject = {} if description is None else {"description": description}
    return {"type": "function", "function": {"name": name, **described, "parameters": schema}}


def _tool_choice(fields: Fields) -> tuple[Json, bool]:
    """Take whether a function must be called, as the daemon says it, and whether only one may be."""
    choice = fields.inner("tool_choice")
    kind = choice.choice("type", ("auto", "any", "tool", "none"))
    name = choice.text("name")
    single_call = choice.flag("disable_parallel_tool_use") or False
    choice.end()
    if kind != "tool":
        return "required" if kind == "any" else kind, single_call
    if name is None:
        raise choice.wrong("name", "is missing: it says which function must be called.")
    return {"type": "function", "function": {"name": name}}, single_call
