"""/v1/completions as a protocol of runs: the model goes on with a text as it is, without a chat template around it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

from rkllmd.gateway import sampling
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.logprobs import told
from rkllmd.gateway.logprobs.lists import Lists
from rkllmd.gateway.logprobs.told import Told
from rkllmd.gateway.openai import request, shape
from rkllmd.gateway.openai.counting import Counting
from rkllmd.gateway.run import Answer, Framing, Protocol, Wanted, check_ended, held_back
from rkllmd.json_types import Json, JsonObject

# What would change nothing may be said.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"id_slot": (-1,)}
# Each is a run of the model, one after the other; LangChain sends twenty prompts at once.
_MOST_ANSWERS: Final = 32


def read(body: Json) -> Wanted:
    """Return the request. Raises WrongField for what is wrong or can't be done."""
    fields = Fields(body)
    prompts = _prompts(fields)
    fields.becomes("prompt", "prompt_input")
    params: JsonObject = {"bare": True}
    if suffix := fields.text("suffix"):
        params["suffix"] = suffix
    params |= request.limits(fields) | sampling.take(fields)
    to_each = request.choices(fields, params)
    if len(prompts) * len(to_each) > _MOST_ANSWERS:
        raise fields.wrong("prompt", f"and n make more than {_MOST_ANSWERS} answers: send some of the prompts later.")
    first, *further = [{"prompt": prompt, **own} for prompt in prompts for own in to_each]
    echoes = fields.flag("echo") or False
    if (top := told.number(fields, "logprobs")) is not None:
        params["logprobs"] = top
        if echoes:
            raise fields.wrong("logprobs", "can't be told of the prompt: leave echo out.")
    # All that are made are shown.
    fields.neutral({**_NEUTRAL, "best_of": (len(to_each),)})
    begins = prompts if echoes else [""] * len(prompts)
    return request.finish(fields, params | first, {"begins": begins}, further=further)


def _prompts(fields: Fields) -> list[str]:
    given = fields.any("prompt")
    if given is None:
        raise fields.wrong("prompt", "is missing: give the text to go on with.")
    if isinstance(given, list) and given and all(isinstance(item, int | list) for item in given):
        raise fields.wrong("prompt", "has token ids, which mean other words to this model: send the text.")
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise fields.wrong("prompt", "must be a text, or an array of texts.")
    return texts


class CompletionAnswer(Answer):
    """Texts, one after the other; in the chunk that says why one has ended is none."""

    def __init__(
        self, model: str, answer_id: str, created: int, begins: Sequence[str], *, includes_usage: bool, choices: int = 1
    ) -> None:
        """Begin; ``created`` is in seconds since 1970, ``begins`` what the answers to each prompt are to begin with.

        ``choices``: how many answers there are, to all prompts.
        """
        self._head: JsonObject = {"id": answer_id, "object": "text_completion", "created": created, "model": model}
        self._begins = begins
        self._includes_usage = includes_usage
        self._counting = Counting(choices, to_each=choices // len(begins))
        self._ended: list[Json] = []
        self._told, self._lists = Told(), Lists()

    def begin(self) -> Iterable[JsonObject]:
        """Return the prompt where it is wanted."""
        prompt = self._begins[self._counting.prompt]
        return [self._chunk(prompt)] if prompt else []

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the chunk of what has come."""
        self._told.add(result)
        if text := result.get("text"):
            yield self._chunk(text)

    def plain(self, name: str, words: str) -> JsonObject | None:
        """Return the chunk of words; thoughts are not shown."""
        return self._chunk(words) if name == "text" else None

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, why it has ended, and if it is wanted, how many tokens that took."""
        yield from self.partial(held_back(check_ended(result)))
        yield shape.with_timings(self._chunk("", shape.finish_reason(result)), result)
        usage = self._count(result)
        if not self._counting.is_over:
            yield from self.begin()
        elif self._includes_usage:
            yield {**self._head, "choices": [], "usage": usage}

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object; of several, those so far."""
        self._told.add(check_ended(result))
        prompt = self._begins[self._counting.prompt]
        self._ended.append(self._choice(prompt + result["text"], shape.finish_reason(result)))
        answer = {**self._head, "choices": self._ended, "usage": self._count(result)}
        return shape.with_timings(answer, result)

    def _count(self, result: JsonObject) -> JsonObject:
        """Take the end of an answer; return what all so far took."""
        self._lists = Lists()
        return self._counting.add(result)

    def idle(self) -> Iterable[JsonObject]:
        """Return nothing: comments keep the connection alive."""
        return ()

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream."""
        return shape.error_body(failure)

    def _chunk(self, text: str, reason: str | None = None) -> JsonObject:
        return {**self._head, "choices": [self._choice(text, reason)]}

    def _choice(self, text: str, reason: str | None) -> JsonObject:
        likely = self._lists.of(self._told.take())
        return {"index": self._counting.index, "text": text, "logprobs": likely, "finish_reason": reason}


def _answer(wanted: Wanted, model: str) -> CompletionAnswer:
    answer_id = f"cmpl-{secrets.token_hex(12)}"
    return CompletionAnswer(
        model,
        answer_id,
        int(time.time()),
        wanted.for_answer["begins"],
        includes_usage=wanted.includes_usage,
        choices=wanted.choices,
    )


COMPLETION: Final = Protocol(read, _answer, shape.error_body, framing=Framing.EVENTS)
