"""Requests for /api/chat and /api/generate, as the parameters of a run."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway import conversation, sampling
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.logprobs import told
from rkllmd.gateway.ollama import memory
from rkllmd.gateway.pictures.given import of_base64
from rkllmd.gateway.run import Residence, Wanted
from rkllmd.json_types import Json, JsonObject

_ROLES: Final = ("system", "user", "assistant", "tool")
_NEUTRAL_OPTIONS: Final[dict[str, tuple[Json, ...]]] = {"repeat_last_n": (64,), "penalize_newline": (True,)}
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"truncate": (False,), "shift": (False,)}
_ONLY_OF_GENERATE: Final[dict[str, tuple[Json, ...]]] = {"template": ("",), "context": ([],)}
_EFFORTS: Final = ("low", "medium", "high")
# The Vercel AI SDK's provider has the limit, and how tokens are chosen, beside the options.
_LIMIT_BESIDE: Final = "max_output_tokens"


def read_chat(body: Json) -> Wanted:
    """Return a request for /api/chat. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    if not body.get("messages"):
        return _residence(fields, "messages")
    params: JsonObject = {"messages": conversation.messages(fields, _message)}
    params |= conversation.tools(fields, conversation.functions(fields), _tool_choice(fields))
    return _rest(fields, params)


def read_generate(body: Json) -> Wanted:
    """Return a request for /api/generate: a question, and perhaps what the system says. Raises WrongField.

    ``raw``, and where there is a ``suffix``: the prompt as it is, without a chat template.
    """
    fields = Fields(body)
    fields.neutral(_ONLY_OF_GENERATE)
    if not (body.get("prompt") or body.get("suffix")):
        return _residence(fields, "prompt", "suffix", "system", "raw", "images")
    prompt, suffix, is_raw = fields.text("prompt") or "", fields.text("suffix"), fields.flag("raw")
    if suffix or is_raw:
        fields.neutral({"system": ("",), "images": ([],)}, "has no place in a prompt that is given as it is.")
        fields.becomes("prompt", "prompt_input")
        gap: JsonObject = {"suffix": suffix} if suffix else {}
        return _rest(fields, {"prompt": prompt, "bare": True, **gap}, thinks=False)
    system = fields.text("system")
    said: list[Json] = [{"role": "system", "content": system}] if system else []
    fields.becomes("prompt", "messages")
    fields.names.add_messages(["system", "prompt"] if said else ["prompt"])
    return _rest(fields, {"messages": [*said, {"role": "user", "content": _with_pictures(fields, prompt)}]})


def _residence(fields: Fields, *without_effect: str) -> Wanted:
    """Return a request without words: the model is to be loaded, or with ``keep_alive`` 0 unloaded."""
    fields.without_effect(without_effect)
    asked = _rest(fields, {})
    return Wanted(asked.model, residence=Residence.UNLOADED if asked.leaves else Residence.LOADED)


def _with_pictures(fields: Fields, text: str) -> Json:
    """Take ``images``: the content of a message has them before its text, as Ollama's templates do."""
    given = fields.texts("images")
    if not given:
        return text
    parts = [of_base64(item, f"{fields.path('images')}[{index}]").part() for index, item in enumerate(given)]
    return [*parts, {"type": "text", "text": text}]


def _rest(fields: Fields, params: JsonObject, *, thinks: bool = True) -> Wanted:
    """Take what both requests have; ``thinks``: whether the model may be told to, which a chat template does."""
    options = fields.inner("options")
    params |= sampling.take(fields, options)
    if stop := options.texts("stop"):
        params["stop"] = stop
        options.becomes("stop", "stop")
    _limit(fields, options, params)
    options.neutral(_NEUTRAL_OPTIONS)
    memory.take_loading(options)
    options.end()
    effort = fields.any("think")
    if effort is not None:
        if not isinstance(effort, bool) and effort not in _EFFORTS:
            raise fields.wrong("think", f"must be true, false, or one of {', '.join(_EFFORTS)}.")
        if thinks:
            params["enable_thinking"] = bool(effort)
        elif effort:
            raise fields.wrong("think", "can only be false where the prompt is given as it is.")
    form = fields.any("format")
    if form not in (None, ""):
        if form != "json" and not isinstance(form, dict):
            raise fields.wrong("format", "must be json or a JSON Schema.")
        params["format"] = form
    params |= told.take(fields)
    streams = fields.flag("stream")
    model = fields.text("model")
    fields.neutral(_NEUTRAL)
    leaves = memory.take_leaves(fields)
    fields.end()
    return Wanted(model, params, streams is not False, leaves=leaves, names=fields.names)


def _limit(fields: Fields, options: Fields, params: JsonObject) -> None:
    """Take how long an answer may be; -1 and -2: as long as there is room for."""
    beside, limit = fields.integer(_LIMIT_BESIDE, -2), options.integer("num_predict", -2)
    if limit is None:
        limit, options = beside, fields
    if limit is not None and limit > 0:
        params["max_new_tokens"] = limit
        options.becomes(_LIMIT_BESIDE if options is fields else "num_predict", "max_new_tokens")


def _message(given: JsonObject, where: str) -> JsonObject:
    """Return a message as the daemon takes it."""
    fields = Fields(given, where)
    message: JsonObject = {"role": conversation.role(fields, _ROLES)}
    message["content"] = _with_pictures(fields, fields.text("content") or "")
    # Models know which call a result belongs to by their order.
    fields.without_effect(("tool_name", "name"))
    for name, ours in (("thinking", "reasoning"), ("tool_call_id", "tool_call_id")):
        if value := fields.text(name):
            message[ours] = value
    message |= conversation.calls(fields, _call)
    fields.end()
    return message


def _tool_choice(fields: Fields) -> Json:
    """Take whether a function must be called, which Ollama does not have, but its clients send."""
    choice = fields.any("tool_choice")
    if not isinstance(choice, dict) or "name" not in choice:
        return choice
    chosen = Fields(choice, "tool_choice")
    chosen.choice("type", ("function",))
    fields.becomes("tool_choice.name", "tool_choice.function.name")
    named = {"type": "function", "function": {"name": chosen.needed("name")}}
    chosen.end()
    return named


def _call(fields: Fields) -> JsonObject:
    """Return a call of a function that an answer had."""
    call: JsonObject = {"type": "function", "function": conversation.function(fields, ("index", "description"))}
    if (call_id := fields.text("id")) is not None:
        call["id"] = call_id
    fields.without_effect(("type",))
    fields.end()
    return call
