"""The answer of /v1/chat/completions: the daemon's results as chunks of a stream, or as one object."""

from __future__ import annotations

from collections.abc import Iterable

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.logprobs.told import Told, shown
from rkllmd.gateway.openai import shape
from rkllmd.gateway.openai.counting import Counting
from rkllmd.gateway.openai.tools.custom import custom_call
from rkllmd.gateway.run import Answer, WholeCalls, arguments_text, check_ended, held_back
from rkllmd.json_types import Json, JsonObject


class ChatAnswer(Answer):
    """An answer: the role once in the first delta, an empty delta in the chunk that says why it ended."""

    def __init__(
        self,
        model: str,
        answer_id: str,
        created: int,
        *,
        includes_usage: bool,
        single_call: bool = False,
        custom: frozenset[str] = frozenset(),
        choices: int = 1,
    ) -> None:
        """Begin; ``created`` is in seconds since 1970; the others are as in ``Wanted``."""
        self._model = model
        self._id = answer_id
        self._created = created
        self._includes_usage = includes_usage
        self._single_call = single_call
        self._custom = custom
        self._calls = WholeCalls(single=single_call)
        self._sent = 0  # how many calls
        self._told = Told()
        # Of several answers, those that have ended.
        self._counting = Counting(choices, to_each=choices)
        self._ended: list[Json] = []

    def begin(self) -> Iterable[JsonObject]:
        """Return the chunk with the role."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the chunks of what has come; the first of them tells of its tokens."""
        self._told.add(result)
        if reasoning := result.get("reasoning"):
            yield self._chunk({"reasoning_content": reasoning})
        if text := result.get("text"):
            yield self._chunk({"content": text})
        for call in self._calls.take(result):
            yield self._chunk({"tool_calls": [{"index": self._sent, **self._whole_call(call)}]})
            self._sent += 1

    def plain(self, name: str, words: str) -> JsonObject:
        """Return the chunk of words."""
        return self._chunk({"content" if name == "text" else "reasoning_content": words})

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, why it has ended, and if it is wanted, how many tokens that took."""
        yield from self.partial(held_back(check_ended(result)))
        yield shape.with_timings(self._chunk({}, shape.finish_reason(result)), result)
        usage = self._count(result)
        if not self._counting.is_over:
            yield from self.begin()
        elif self._includes_usage:
            yield {**self._chunk({}), "choices": [], "usage": usage}

    def _count(self, result: JsonObject) -> JsonObject:
        """Take the end of an answer; return what all so far took."""
        self._calls, self._sent = WholeCalls(single=self._single_call), 0
        return self._counting.add(result)

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object; of several, those so far."""
        self._told.add(check_ended(result))
        calls = [self._whole_call(call) for call in self._calls.all(result)]
        message: JsonObject = {"role": "assistant", "content": result["text"] or (None if calls else "")}
        if reasoning := result.get("reasoning"):
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = calls
        self._ended.append(self._choice({"message": message}, shape.finish_reason(result)))
        answer = {**self._head("chat.completion"), "choices": self._ended, "usage": self._count(result)}
        return shape.with_timings(answer, result)

    def idle(self) -> Iterable[JsonObject]:
        """Return nothing: comments keep the connection alive."""
        return ()

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream."""
        return shape.error_body(failure)

    def _chunk(self, delta: JsonObject, reason: str | None = None) -> JsonObject:
        return {**self._head("chat.completion.chunk"), "choices": [self._choice({"delta": delta}, reason)]}

    def _choice(self, said: JsonObject, reason: str | None) -> JsonObject:
        """Return a message or a delta (``said``), with what is told of the tokens that have come since the last one."""
        tokens = self._told.take()
        likely = {"content": shown(tokens), "refusal": None} if tokens else None
        return {"index": self._counting.index, **said, "logprobs": likely, "finish_reason": reason}

    def _whole_call(self, call: JsonObject) -> JsonObject:
        """Return a call, of a function with its arguments as a JSON text."""
        name = call["function"]["name"]
        if name in self._custom:
            return custom_call(call)
        return {"id": call["id"], "type": "function", "function": {"name": name, "arguments": arguments_text(call)}}

    def _head(self, kind: str) -> JsonObject:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}
