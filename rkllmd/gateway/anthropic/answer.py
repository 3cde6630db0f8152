"""The answer of /v1/messages: the daemon's results as the events of a stream, or as one message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rkllmd.gateway.anthropic import shape
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import Answer, WholeCalls, arguments_text, check_ended, held_back
from rkllmd.json_types import Json, JsonObject

# It is Anthropic's proof that thoughts are its model's: here nothing depends on it. But some clients take thoughts
# without one for another model's, and send them back as a text of the answer.
_SIGNATURE: Final = "rkllmd"
_REASONS: Final = {"length": "max_tokens", "timeout": "max_tokens", "tool_calls": "tool_use"}


class MessageAnswer(Answer):
    """An answer, made of blocks: thoughts, texts, and calls, each whole. One that is empty has an empty text."""

    def __init__(self, model: str, answer_id: str, *, single_call: bool = False, hides_thoughts: bool = False) -> None:
        """Begin; ``single_call`` is that of the request. ``hides_thoughts``: their blocks are to be empty."""
        self._model = model
        self._id = answer_id
        self._hides_thoughts = hides_thoughts
        self._calls = WholeCalls(single=single_call)
        self._index = 0
        # The type of the block that has begun and not ended.
        self._open: str | None = None

    def begin(self) -> Iterable[JsonObject]:
        """Return the event with the empty message; how many tokens it was told is only known at its end."""
        yield {"type": "message_start", "message": self._message([], None, None, shape.usage({}))}

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the events of what has come."""
        if reasoning := result.get("reasoning"):
            yield from self._grow("thinking", {"type": "thinking_delta", "thinking": reasoning})
        if text := result.get("text"):
            yield from self._grow("text", {"type": "text_delta", "text": text})
        for call in self._calls.take(result):
            yield from self._end_block()
            yield self._start({**_tool_use(call), "input": {}})
            yield self._delta({"type": "input_json_delta", "partial_json": arguments_text(call)})
            yield from self._end_block()

    def _grow(self, kind: str, delta: JsonObject) -> Iterable[JsonObject]:
        """Yield what makes the last block longer, after the beginning of a new one where that is of another kind."""
        if self._open != kind:
            yield from self._end_block()
            yield self._start({"type": "text", "text": ""} if kind == "text" else _thoughts("", ""))
        if kind == "text" or not self._hides_thoughts:
            yield self._delta(delta)

    def _start(self, block: JsonObject) -> JsonObject:
        self._open = block["type"]
        return {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: JsonObject) -> JsonObject:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _end_block(self) -> Iterable[JsonObject]:
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": _SIGNATURE})
        yield {"type": "content_block_stop", "index": self._index}
        self._open = None
        self._index += 1

    def plain(self, name: str, words: str) -> JsonObject | None:
        """Return the event of words, where their block has begun."""
        kind = "text" if name == "text" else "thinking"
        if kind == "thinking" and self._hides_thoughts:
            return None
        return self._delta({"type": f"{kind}_delta", kind: words}) if self._open == kind else None

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, why it has ended, and how many tokens that took."""
        yield from self.partial(held_back(check_ended(result)))
        if self._open is None and self._index == 0:
            yield self._start({"type": "text", "text": ""})
        yield from self._end_block()
        delta: JsonObject = {"stop_reason": _reason(result), "stop_sequence": result.get("stop_sequence")}
        yield {"type": "message_delta", "delta": delta, "usage": shape.usage(result)}
        yield {"type": "message_stop"}

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object."""
        check_ended(result)
        blocks: list[Json] = []
        if reasoning := result.get("reasoning"):
            blocks.append(_thoughts("" if self._hides_thoughts else reasoning))
        calls = [
            {**_tool_use(call), "input": call["function"].get("arguments") or {}} for call in self._calls.all(result)
        ]
        if result["text"] or not (blocks or calls):
            blocks.append({"type": "text", "text": result["text"]})
        blocks += calls
        return self._message(blocks, _reason(result), result.get("stop_sequence"), shape.usage(result))

    def idle(self) -> Iterable[JsonObject]:
        """Return what Anthropic's own servers send meanwhile."""
        yield {"type": "ping"}

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream."""
        return shape.error_body(failure)

    def _message(
        self, content: list[Json], reason: str | None, stop_sequence: str | None, usage: JsonObject
    ) -> JsonObject:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop_sequence,
            "usage": usage,
        }


def _reason(result: JsonObject) -> str:
    """Return why an answer has ended."""
    if result.get("stop_sequence") is not None:
        return "stop_sequence"
    return _REASONS.get(result.get("finish_reason", ""), "end_turn")


def _thoughts(text: str, signature: str = _SIGNATURE) -> JsonObject:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _tool_use(call: JsonObject) -> JsonObject:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
