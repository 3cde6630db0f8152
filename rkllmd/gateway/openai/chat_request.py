"""A request for /v1/chat/completions, as the parameters of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rkllmd.gateway import conversation, sampling
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.logprobs import told
from rkllmd.gateway.openai import request
from rkllmd.gateway.openai.tools.custom import KIND, CustomTools, called
from rkllmd.gateway.pictures.given import of_url
from rkllmd.gateway.run import Wanted
from rkllmd.json_types import Json, JsonObject

# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("auto", "none"),
}
# Where a prompt is to be kept in a cache, which the daemon does by itself; and what Copilot tells GitHub's own servers.
_KEPT: Final = ("cache_control", *request.KEPT)
_OF_MESSAGE: Final = (*_KEPT, "copilot_cache_control", "copilot_references", "copilot_confirmations")
# What answers refuse with, and as /v1/responses has texts: histories have them too.
_TEXTS: Final = ("text", "input_text", "output_text", "refusal")
# OpenAI's agents for JavaScript repeat the rest of an answer's message in the part that is its text.
_REPEATED: Final = ("role", "tool_calls", "reasoning_content")
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")


def read(body: Json) -> Wanted:
    """Return the request. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    return for_messages(fields, conversation.messages(fields, _message))


def for_messages(fields: Fields, messages: list[JsonObject]) -> Wanted:
    """Return the request with these messages, which the daemon knows; take all other fields. Raises WrongField."""
    params: JsonObject = {"messages": messages}
    custom = CustomTools()
    params |= request.limits(fields) | sampling.take(fields) | _thinking(fields) | _tools(fields, custom)
    params |= _format(fields)
    params |= told.take(fields)
    single_call = fields.flag("parallel_tool_calls") is False
    _, *further = request.choices(fields, params)
    fields.neutral(_NEUTRAL)
    return request.finish(fields, params, single_call=single_call, custom=custom.names, further=further)


def _thinking(fields: Fields) -> JsonObject:
    """Take what says whether the model thinks before it answers."""
    effort = fields.choice("reasoning_effort", request.EFFORTS)
    options = fields.inner("chat_template_kwargs")
    thinks = options.flag("enable_thinking")
    options.end()
    if thinks is None and effort is not None:
        thinks = effort != "none"
    return {} if thinks is None else {"enable_thinking": thinks}


def _tools(fields: Fields, custom: CustomTools) -> JsonObject:
    """Take the functions that the model may call, those that ``custom`` tools are among them."""

    def take_custom(tool: Fields, function: str) -> JsonObject:
        inner = tool.inner(KIND)
        tool.end()
        tool.becomes(KIND, function)
        return custom.take(inner, has_inner_grammar=True)

    tools, choice = conversation.functions(fields, {KIND: take_custom}), fields.any("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools":
        chosen = Fields(choice, "tool_choice")
        chosen.without_effect(("type",))
        allowed = chosen.inner("allowed_tools")
        chosen.end()
        tools, choice = conversation.allowed(fields, tools, allowed, _name)
    elif kind == KIND:
        chosen = Fields(choice, "tool_choice")
        choice = {"type": "function", "function": {"name": _name(chosen)}}
        chosen.end()
    custom.finish(tools, choice)
    return conversation.tools(fields, tools, choice)


def _name(tool: Fields) -> str:
    kind = tool.choice("type", ("function", KIND)) or "function"
    named = tool.inner(kind)
    name = named.needed("name")
    named.without_effect(("description", "parameters", "strict", "format"))
    named.end()
    return name


def _format(fields: Fields) -> JsonObject:
    """Take the form that the answer is to have; what is named "strict" and what is not are kept to it alike."""
    wanted = fields.inner("response_format")
    kind = wanted.choice("type", ("text", "json_object", "json_schema"))
    described = wanted.inner("json_schema")
    described.without_effect(("name", "description", "strict"))
    schema = described.any("schema")
    described.end()
    wanted.end()
    return request.form(described, kind, schema)


def _message(given: JsonObject, where: str) -> JsonObject:
    """Return a message as the daemon takes it."""
    fields = Fields(given, where)
    role = conversation.role(fields, _ROLES)
    message: JsonObject = {"role": "system" if role == "developer" else role}
    repeated = _REPEATED if role == "assistant" else ()
    message["content"] = _content(fields, sees=role in ("user", "tool"), without_effect=(*_KEPT, *repeated))
    if role == "assistant" and (refusal := fields.text("refusal")) and not message["content"]:
        message["content"] = refusal
    # Who of several users spoke is told to no model; models know which call a result belongs to by their order.
    fields.without_effect(("name", *_OF_MESSAGE))
    if role == "assistant":
        fields.without_effect(("cot_id",))
        reasoning = [fields.text(name) for name in ("reasoning_content", "reasoning", "cot_summary")]
        if said := next(filter(None, reasoning), None):
            message["reasoning"] = said
        message |= conversation.calls(fields, _call)
        fields.without_effect(("annotations", *request.PARSED))  # where other servers' models had it from
        fields.neutral({"function_call": ()})
    if role == "tool" and (call_id := fields.text("tool_call_id")) is not None:
        message["tool_call_id"] = call_id
    fields.end()
    return message


def _call(fields: Fields) -> JsonObject:
    """Return a call that an answer had, as one of a function."""
    call: JsonObject = {name: value for name in ("id", "type") if (value := fields.text(name)) is not None}
    if call.get("type") == KIND:
        given = fields.inner(KIND)
        call |= {"type": "function", "function": called(given)}
        given.end()
    else:
        call["function"] = conversation.function(fields, request.PARSED)
    fields.without_effect(("index",))  # a client that keeps the pieces of a stream sends it back
    fields.end()
    return call


def _content(fields: Fields, *, sees: bool, without_effect: Sequence[str]) -> Json:
    """Take the content of a message; ``sees``: whether it may have pictures; ``without_effect``: members of parts."""
    given = fields.any("content")
    if given is None or isinstance(given, str):
        return given or ""
    if not isinstance(given, list):
        raise fields.wrong("content", "must be a string.")
    parts: list[Json] = []
    kinds = (*_TEXTS, "image_url") if sees else _TEXTS
    for index, item in enumerate(given):
        part = Fields(item, f"{fields.path('content')}[{index}]")
        kind = part.text("type")
        if kind not in kinds:
            raise part.wrong("type", f"can only be {' or '.join(kinds)} here: {kind} is not supported.")
        parts.append(_picture(part) if kind == "image_url" else _text(part, kind))
        part.without_effect(without_effect)
        part.end()
    return parts


def _text(fields: Fields, kind: str | None) -> JsonObject:
    fields.without_effect(("annotations",))
    return {"type": "text", "text": fields.needed("refusal" if kind == "refusal" else "text")}


def _picture(fields: Fields) -> JsonObject:
    short = fields.any("image_url")
    if isinstance(short, str):
        return of_url(short, fields.path("image_url")).part()
    given = Fields(short or {}, fields.path("image_url"))
    url = given.needed("url")
    given.without_effect(("detail", "media_type"))  # a model's encoder has one size; the picture says what it is
    given.end()
    return of_url(url, given.path("url")).part()
