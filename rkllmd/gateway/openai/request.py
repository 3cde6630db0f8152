"""The fields that OpenAI's requests have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.gateway.openai.shape import NO_LIMIT
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.sampling import SEEDS
from rkllmd.json_types import Json, JsonObject

# These say who asks, or where something is billed or kept: no answer depends on them.
WITHOUT_EFFECT: Final = (
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "client_metadata",
    "timings_per_token",
    "cache_prompt",
)
# Where the prompt is to be kept in a cache, of a part of a message.
KEPT: Final = ("prompt_cache_breakpoint",)
# What openai's own helpers add to an answer that they have parsed: it comes back in histories.
PARSED: Final = ("parsed", "parsed_arguments")
# How much a model is to think; here it does or does not.
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"n": (1,), "logit_bias": ({},)}
_MOST_CHOICES: Final = 8


def limits(fields: Fields) -> JsonObject:
    """Take what ends the answer."""
    params: JsonObject = {}
    for name in ("max_completion_tokens", "max_tokens"):
        limit = fields.integer(name)
        if limit in (None, NO_LIMIT):
            continue
        if limit < 1:
            raise fields.wrong(name, f"must be a whole number of at least 1, or {NO_LIMIT} for no limit of its own.")
        if limit < params.get("max_new_tokens", limit + 1):
            params["max_new_tokens"] = limit
            fields.becomes(name, "max_new_tokens")
    if stop := fields.texts("stop"):
        params["stop"] = stop
    return params


def form(described: Fields, kind: str | None, schema: Json) -> JsonObject:
    """Return the form that the answer is to have; ``described`` is where its schema was. Raises WrongField."""
    if kind == "json_schema":
        if not isinstance(schema, dict):
            raise described.wrong("schema", "is missing: give the JSON Schema of the answer.")
        described.becomes("schema", "format")
        return {"format": schema}
    return {"format": "json"} if kind == "json_object" else {}


def choices(fields: Fields, params: JsonObject) -> list[JsonObject]:
    """Take how many answers are wanted; return what each has beside ``params``: with a seed, one of its own."""
    count = fields.integer("n", 1) or 1
    if count > _MOST_CHOICES:
        raise fields.wrong("n", f"can be {_MOST_CHOICES} at most: each is a run of its own.")
    seed = params.get("seed")
    return [{} if seed is None else {"seed": (seed + index) % SEEDS} for index in range(count)]


def finish(
    fields: Fields,
    params: JsonObject,
    for_answer: JsonObject | None = None,
    *,
    single_call: bool = False,
    custom: frozenset[str] = frozenset(),
    further: Sequence[JsonObject] = (),
) -> Wanted:
    """Take what is left: how the answer is to come, and what changes nothing. Raises WrongField.

    ``for_answer``: what the answer has to know of the request; ``single_call``: whether it has one call at most;
    ``custom``: the names of custom tools; ``further``: what each answer after the first has instead of ``params``.
    """
    streams = fields.flag("stream") or False
    options = fields.inner("stream_options")
    includes_usage = options.flag("include_usage") or False
    options.neutral({"include_obfuscation": (False, True)})
    options.end()
    model = fields.text("model")
    fields.neutral(_NEUTRAL)
    fields.without_effect(WITHOUT_EFFECT)
    fields.end()
    return Wanted(
        model,
        params,
        streams,
        includes_usage,
        single_call,
        custom,
        for_answer or {},
        further=further,
        names=fields.names,
    )
