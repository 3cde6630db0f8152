"""Requests for /api/chat and /api/generate, as the parameters of a run."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway import conversation, sampling
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.pictures.given import of_base64
from rkllmd.gateway.run import Wanted
from rkllmd.json_types import Json, JsonObject

_ROLES: Final = ("system", "user", "assistant", "tool")
# How Ollama loads a model, and for how long: it is loaded already, and stays as the daemon's configuration says.
_LOADING: Final = (
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "use_mlock",
    "low_vram",
    "numa",
    "f16_kv",
)
_NEUTRAL_OPTIONS: Final[dict[str, tuple[Json, ...]]] = {"repeat_last_n": (64,), "penalize_newline": (True,)}
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "truncate": (False,),
    "shift": (False,),
}
_ONLY_OF_GENERATE: Final[dict[str, tuple[Json, ...]]] = {
    "suffix": ("",),
    "template": ("",),
    "context": ([],),
    "raw": (False,),
}
_EFFORTS: Final = ("low", "medium", "high")


def read_chat(body: Json) -> Wanted:
    """Return a request for /api/chat. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    params: JsonObject = {"messages": conversation.messages(fields, _message)}
    if tools := fields.objects("tools"):
        params["tools"] = tools
    return _rest(fields, params)


def read_generate(body: Json) -> Wanted:
    """Return a request for /api/generate: a question, and perhaps what the system says. Raises WrongField."""
    fields = Fields(body)
    system, prompt = fields.text("system"), fields.text("prompt")
    if not prompt:
        raise fields.wrong("prompt", "is missing: models are loaded and unloaded by the daemon, not by this request.")
    fields.neutral(_ONLY_OF_GENERATE)
    said: list[Json] = [{"role": "system", "content": system}] if system else []
    return _rest(fields, {"messages": [*said, {"role": "user", "content": _with_pictures(fields, prompt)}]})


def _with_pictures(fields: Fields, text: str) -> Json:
    """Take ``images``: the content of a message has them before its text, as Ollama's templates do."""
    given = fields.texts("images")
    if not given:
        return text
    parts = [of_base64(item, f"{fields.path('images')}[{index}]").part() for index, item in enumerate(given)]
    return [*parts, {"type": "text", "text": text}]


def _rest(fields: Fields, params: JsonObject) -> Wanted:
    """Take what both requests have."""
    options = fields.inner("options")
    params |= sampling.take(options)
    if stop := options.texts("stop"):
        params["stop"] = stop
    limit = options.integer("num_predict", -2)  # -1 and -2: as many as there is room for
    if limit is not None and limit > 0:
        params["max_new_tokens"] = limit
    options.neutral(_NEUTRAL_OPTIONS)
    options.without_effect(_LOADING)
    options.end()
    thinks = fields.any("think")
    if thinks is not None:
        if not isinstance(thinks, bool) and thinks not in _EFFORTS:
            raise fields.wrong("think", f"must be true, false, or one of {', '.join(_EFFORTS)}.")
        params["enable_thinking"] = bool(thinks)
    form = fields.any("format")
    if form not in (None, ""):
        if form != "json" and not isinstance(form, dict):
            raise fields.wrong("format", "must be json or a JSON Schema.")
        params["format"] = form
    streams = fields.flag("stream")
    model = fields.text("model")
    fields.neutral(_NEUTRAL)
    fields.without_effect(("keep_alive",))
    fields.end()
    return Wanted(model, params, streams is not False)


def _message(given: JsonObject, where: str) -> JsonObject:
    """Return a message as the daemon takes it."""
    fields = Fields(given, where)
    message: JsonObject = {"role": conversation.role(fields, _ROLES), "content": fields.text("content") or ""}
    message["content"] = _with_pictures(fields, message["content"])
    # Models know which call a result belongs to by their order.
    fields.without_effect(("tool_name", "name"))
    for name, ours in (("thinking", "reasoning"), ("tool_call_id", "tool_call_id")):
        if value := fields.text(name):
            message[ours] = value
    message |= conversation.calls(fields, where, _call)
    fields.end()
    return message


def _call(fields: Fields) -> JsonObject:
    """Return a call of a function that an answer had."""
    call: JsonObject = {"type": "function", "function": conversation.function(fields, ("index", "description"))}
    if (call_id := fields.text("id")) is not None:
        call["id"] = call_id
    fields.without_effect(("type",))
    fields.end()
    return call
