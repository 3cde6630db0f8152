"""/v1/completions as a protocol of runs: a text is gone on with as it is, without a chat template around it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Final

from rkllmd.gateway import sampling
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.openai import request, shape
from rkllmd.gateway.run import Answer, Framing, Protocol, Wanted, check_ended, held_back
from rkllmd.json_types import Json, JsonObject

# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"best_of": (1,), "logprobs": (), "id_slot": (-1,)}


def read(body: Json) -> Wanted:
    """Return the request. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    prompt = _prompt(fields)
    params: JsonObject = {"prompt": prompt, "bare": True}
    if suffix := fields.text("suffix"):
        params["suffix"] = suffix
    params |= request.limits(fields) | sampling.take(fields)
    echoes = fields.flag("echo") or False
    fields.neutral(_NEUTRAL)
    return request.finish(fields, params, {"prompt": prompt} if echoes else None)


def _prompt(fields: Fields) -> str:
    given = fields.any("prompt")
    is_list = isinstance(given, list)
    if is_list and given and all(isinstance(item, int | list) for item in given):
        raise fields.wrong("prompt", "has token ids, which mean other words to this model: send the text.")
    if is_list and len(given) != 1:
        raise fields.wrong("prompt", "must be one text: send a request for each.")
    text = given[0] if is_list else given
    if not isinstance(text, str):
        raise fields.wrong(
            "prompt", "must be a text." if text is not None else "is missing: give the text to go on with."
        )
    return text


class CompletionAnswer(Answer):
    """An answer: text, and in the chunk that says why it ended none."""

    def __init__(self, model: str, answer_id: str, created: int, prompt: str, *, includes_usage: bool) -> None:
        """Begin; ``created`` is in seconds since 1970, ``prompt`` what the answer is to begin with."""
        self._head: JsonObject = {"id": answer_id, "object": "text_completion", "created": created, "model": model}
        self._prompt = prompt
        self._includes_usage = includes_usage

    def begin(self) -> Iterable[JsonObject]:
        """Return the prompt where it is wanted."""
        return [self._chunk(self._prompt)] if self._prompt else []

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the chunk of what has come."""
        if text := result.get("text"):
            yield self._chunk(text)

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, why it has ended, and if it is wanted, how many tokens that took."""
        yield from self.partial(held_back(check_ended(result)))
        yield shape.with_timings(self._chunk("", shape.finish_reason(result)), result)
        if self._includes_usage:
            yield {**self._head, "choices": [], "usage": shape.usage(result)}

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object."""
        check_ended(result)
        answer = self._chunk(self._prompt + result["text"], shape.finish_reason(result))
        return shape.with_timings({**answer, "usage": shape.usage(result)}, result)

    def idle(self) -> Iterable[JsonObject]:
        """Return nothing: comments keep the connection alive."""
        return ()

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream."""
        return shape.error_body(failure)

    def _chunk(self, text: str, reason: str | None = None) -> JsonObject:
        choice: Json = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return {**self._head, "choices": [choice]}


def _answer(wanted: Wanted, model: str) -> CompletionAnswer:
    answer_id = f"cmpl-{secrets.token_hex(12)}"
    return CompletionAnswer(
        model, answer_id, int(time.time()), wanted.repeated.get("prompt", ""), includes_usage=wanted.includes_usage
    )


COMPLETION: Final = Protocol(read, _answer, shape.error_body, framing=Framing.EVENTS)
