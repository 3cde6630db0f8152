"""A request for /v1/responses, as the parameters of a run. Nothing is kept here: each brings its conversation along."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway import conversation, sampling
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.openai import request
from rkllmd.gateway.openai.tools import namespaces
from rkllmd.gateway.openai.tools.custom import KIND, CustomTools, called
from rkllmd.gateway.openai.tools.namespaces import Namespaces, joined
from rkllmd.gateway.pictures.given import of_url
from rkllmd.gateway.run import Wanted
from rkllmd.json_types import Json, JsonObject

# What an answer repeats of its request.
_REPEATED: Final = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {
    "background": (False,),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
# What would have to be added to items that no answer has, pictures that the client has sent, and thoughts, which an
# answer has as they are.
_NOTHING_TO_INCLUDE: Final = (
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
)
_NOT_KEPT: Final = "can't be served: nothing is kept here, so send the whole conversation as input."
_NOT_KEPT_ITEM: Final = "nothing is kept here, so send the item itself, as clients do once they are told store false."
_ROLES: Final = ("system", "developer", "user", "assistant")
_TOOLS: Final = ("function", KIND)
# Where it must not reach the web (so Codex sends it, if it is not told otherwise), it is one that finds nothing here.
_SEARCH: Final = "web_search"
_TEXTS: Final = ("input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal")


def read(body: Json) -> Wanted:
    """Return the request. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    for name in ("previous_response_id", "conversation", "prompt"):
        fields.neutral({name: ()}, _NOT_KEPT)
    fields.flag("store")  # the answer says that it is not kept
    params: JsonObject = {"messages": _messages(fields)}
    if (limit := fields.integer("max_output_tokens", 1)) is not None:
        params["max_new_tokens"] = limit
        fields.becomes("max_output_tokens", "max_new_tokens")
    custom, spaces = CustomTools(), Namespaces()
    params |= sampling.take(fields) | _reasoning(fields) | _tools(fields, custom, spaces) | _format(fields)
    single_call = fields.flag("parallel_tool_calls") is False
    fields.neutral(_NEUTRAL)
    for included in fields.texts("include") or ():
        if included not in _NOTHING_TO_INCLUDE:
            raise fields.wrong("include", f"can't have {included} here: leave it out.")
    fields.without_effect(("max_tool_calls",))  # of tools that the server itself calls, which it has none of
    repeated = {name: body[name] for name in _REPEATED if body.get(name) is not None}
    for_answer = {"repeated": repeated, "named": spaces.calls}
    return request.finish(fields, params, for_answer, single_call=single_call, custom=custom.names)


def _reasoning(fields: Fields) -> JsonObject:
    """Take whether the model thinks; its thoughts are shown as they are, so no summary has to be made."""
    wanted = fields.inner("reasoning")
    effort = wanted.choice("effort", request.EFFORTS)
    wanted.without_effect(("summary", "generate_summary"))
    wanted.end()
    return {} if effort is None else {"enable_thinking": effort != "none"}


def _tools(fields: Fields, custom: CustomTools, spaces: Namespaces) -> JsonObject:
    """Take the functions that the model may call; here a function's members stand beside its type.

    Those that ``custom`` tools are, and those of namespaces (``spaces``), are among them.
    """
    tools: list[JsonObject] = []
    for index, given in enumerate(fields.objects("tools") or ()):
        path = f"tools[{index}]"
        tool = fields.of(given, path)
        kind = tool.text("type")
        if kind == _SEARCH and tool.flag("external_web_access") is False:
            continue
        if kind == namespaces.KIND:
            functions = spaces.take(tool, len(tools))
        elif kind == KIND:
            functions = [custom.take(tool)]
        elif kind == "function":
            tool.needed("name")
            functions = [{name: item for name, item in given.items() if name != "type"}]
        else:
            kinds = ", ".join((*_TOOLS, namespaces.KIND))
            raise tool.wrong("type", f"can only be one of {kinds} here: {kind} is not supported.")
        if kind in _TOOLS:
            fields.becomes(path, f"tools[{len(tools)}].function")
        tools += [{"type": "function", "function": function} for function in functions]
    choice = fields.any("tool_choice")
    if isinstance(choice, dict):
        chosen = Fields(choice, "tool_choice")
        if chosen.choice("type", (*_TOOLS, "allowed_tools")) == "allowed_tools":
            tools, choice = conversation.allowed(fields, tools, chosen, _name)
        else:
            choice = {"type": "function", "function": {"name": chosen.text("name") or ""}}
            chosen.end()
    custom.finish(tools, choice)
    return conversation.tools(fields, tools, choice)


def _name(tool: Fields) -> str:
    tool.choice("type", _TOOLS)
    return tool.needed("name")


def _format(fields: Fields) -> JsonObject:
    """Take the form that the answer is to have."""
    text = fields.inner("text")
    wanted = text.inner("format")
    kind = wanted.choice("type", ("text", "json_object", "json_schema"))
    wanted.without_effect(("name", "description", "strict"))
    schema = wanted.any("schema")
    wanted.end()
    text.neutral({"verbosity": ("medium",)})
    text.end()
    return request.form(wanted, kind, schema)


def _messages(fields: Fields) -> list[JsonObject]:
    messages: list[JsonObject] = []
    where: list[str] = []
    if instructions := fields.text("instructions"):
        messages.append({"role": "system", "content": instructions})
        where.append("instructions")
    fields.becomes("input", "messages")
    fields.names.add_messages(where)
    given = fields.any("input")
    if isinstance(given, str):
        where.append("input")
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise fields.wrong("input", "must be a text, or an array of what was said, which is not empty.")
    told = _Conversation(messages)
    for index, item in enumerate(given):
        path = fields.path(f"input[{index}]")
        told.add(Fields(item, path))
        if len(told.messages) > len(where):  # what belongs to an answer is a part of its message
            where.append(path)
    return told.messages


class _Conversation:
    """Makes messages of items: thoughts, a text and calls that follow each other are one answer of the model."""

    def __init__(self, messages: list[JsonObject]) -> None:
        self.messages = messages
        # Whether the last message is an answer that may still get more.
        self._is_open = False

    def add(self, item: Fields) -> None:
        """Take one item. Raises WrongField."""
        item.without_effect(("id", "status", "phase"))
        item.neutral({"caller": ({"type": "direct"},)})
        kind = item.text("type") or "message"
        if kind == "message":
            self._add_message(item)
        elif kind == "reasoning":
            item.without_effect(("encrypted_content",))
            shown = [_joined(item, name) for name in ("content", "summary")]
            self._answer()["reasoning"] = next(filter(None, shown), "")
        elif kind == "function_call":
            item.without_effect(request.PARSED)
            name = joined(item.text("namespace"), item.needed("name"))
            self._add_call(item, {"name": name, "arguments": item.any("arguments")})
        elif kind == "custom_tool_call":
            self._add_call(item, called(item))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            item.without_effect(("name",))  # models know which call a result belongs to by their order
            call_id, output = item.text("call_id"), _content(item, "output", sees=True)
            self._append({"role": "tool", "content": output, **({} if call_id is None else {"tool_call_id": call_id})})
        elif kind == "item_reference":
            raise item.wrong("type", f"can't be {kind}: {_NOT_KEPT_ITEM}")
        else:
            raise item.wrong("type", f"can't be {kind} here: it is not supported.")
        item.end()

    def _add_message(self, item: Fields) -> None:
        role = conversation.role(item, _ROLES)
        content = _content(item, "content", sees=role == "user")
        if role != "assistant":
            self._append({"role": "system" if role == "developer" else role, "content": content})
            return
        if self._is_open and (self.messages[-1]["content"] or "tool_calls" in self.messages[-1]):
            self._is_open = False
        self._answer()["content"] = content

    def _add_call(self, item: Fields, function: JsonObject) -> None:
        call: JsonObject = {"type": "function", "function": function}
        if (call_id := item.text("call_id")) is not None:
            call["id"] = call_id
        self._answer().setdefault("tool_calls", []).append(call)

    def _append(self, message: JsonObject) -> None:
        self.messages.append(message)
        self._is_open = False

    def _answer(self) -> JsonObject:
        """Return the message for what the model has said."""
        if not self._is_open:
            self._append({"role": "assistant", "content": ""})
            self._is_open = True
        return self.messages[-1]


def _content(fields: Fields, name: str, *, sees: bool = False) -> Json:
    """Take a text, or parts; ``sees``: pictures may be among them."""
    given = fields.any(name)
    if given is None or isinstance(given, str):
        return given or ""
    return _parts(given, fields.path(name), sees=sees)


def _joined(fields: Fields, name: str) -> str:
    given = fields.any(name)
    return "" if given is None else "\n".join(part["text"] for part in _parts(given, fields.path(name), sees=False))


def _parts(given: Json, where: str, *, sees: bool) -> list[JsonObject]:
    if not isinstance(given, list):
        raise WrongField(where, f"{where} must be a text, or an array of parts.")
    parts = []
    for index, item in enumerate(given):
        part = Fields(item, f"{where}[{index}]")
        kind = part.text("type")
        if kind == "input_image" and sees:
            part.without_effect(("detail", *request.KEPT))  # a model's encoder has one size
            parts.append(_picture(part))
        elif kind in _TEXTS:
            part.without_effect(("annotations", "logprobs", *request.PARSED, *request.KEPT))
            parts.append({"type": "text", "text": part.needed("refusal" if kind == "refusal" else "text")})
        else:
            raise part.wrong("type", f"can't be {kind} here: it is not supported.")
        part.end()
    return parts


def _picture(part: Fields) -> JsonObject:
    return of_url(part.needed("image_url"), part.path("image_url")).part()
