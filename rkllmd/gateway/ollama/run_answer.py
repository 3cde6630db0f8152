"""The answers of /api/chat and /api/generate: the daemon's results as lines, or as one object."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.logprobs.told import Told, shown
from rkllmd.gateway.ollama import shape
from rkllmd.gateway.ollama.run_request import read_chat, read_generate
from rkllmd.gateway.run import (
    Answer,
    Framing,
    Protocol,
    Residence,
    Wanted,
    check_ended,
    generated_tokens,
    held_back,
    prompt_tokens,
)
from rkllmd.json_types import Json, JsonObject

_NANOSECONDS_PER_MS: Final = 1_000_000
_REASONS: Final = {
    "length": "length",
    "timeout": "length",
    **{residence.value: residence.value for residence in Residence},
}


class RunAnswer(Answer):
    """An answer; ``is_chat``: it is a message, else a text. Durations are whole nanoseconds."""

    def __init__(self, model: str, created_at: str, began_ns: int, *, is_chat: bool) -> None:
        """Begin; ``created_at`` is as Ollama has times, ``began_ns`` that of the monotonic clock."""
        self._head: JsonObject = {"model": model, "created_at": created_at}
        self._began_ns = began_ns
        self._is_chat = is_chat
        self._told = Told()

    def begin(self) -> Iterable[JsonObject]:
        """Return nothing: the first line is the first piece."""
        return ()

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the line of what has come; a call comes when it is whole."""
        self._told.add(result)
        calls = [call for call in result.get("tool_calls") or () if "arguments" in call.get("function", ())]
        text, reasoning = result.get("text") or "", result.get("reasoning") or ""
        if text or reasoning or calls:
            yield self._line(text, reasoning, calls)

    def plain(self, name: str, words: str) -> JsonObject:
        """Return the line of words."""
        return self._line(words, "", ()) if name == "text" else self._line("", words, ())

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, and the line that says why it has ended and how long it took."""
        yield from self.partial(held_back(check_ended(result)))
        yield {**self._line("", "", ()), **self._end(result)}

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object."""
        self._told.add(check_ended(result))
        said = self._line(result["text"], result.get("reasoning") or "", result.get("tool_calls") or ())
        return {**said, **self._end(result)}

    def idle(self) -> Iterable[JsonObject]:
        """Return an empty piece: a line that is none would be an error for clients."""
        return (self._line("", "", ()),)

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream."""
        return shape.error_body(failure)

    def _line(self, text: str, reasoning: str, calls: Iterable[JsonObject]) -> JsonObject:
        said: JsonObject = {"thinking": reasoning} if reasoning else {}
        tokens = shown(self._told.take())
        told = {"logprobs": tokens} if tokens else {}
        if not self._is_chat:
            return {**self._head, "response": text, **said, **told, "done": False}
        if whole_calls := [_call(call) for call in calls]:
            said["tool_calls"] = whole_calls
        return {**self._head, "message": {"role": "assistant", "content": text, **said}, **told, "done": False}

    def _end(self, result: JsonObject) -> JsonObject:
        perf = result.get("perf") or {}
        return {
            "done": True,
            "done_reason": _REASONS.get(result["finish_reason"], "stop"),
            "total_duration": time.monotonic_ns() - self._began_ns,
            "load_duration": 0,
            "prompt_eval_count": prompt_tokens(result),
            "prompt_eval_duration": round(perf.get("prefill_time_ms", 0) * _NANOSECONDS_PER_MS),
            "eval_count": generated_tokens(result),
            "eval_duration": round(perf.get("generate_time_ms", 0) * _NANOSECONDS_PER_MS),
        }


def _call(call: JsonObject) -> Json:
    function = call["function"]
    return {"function": {"name": function["name"], "arguments": function.get("arguments") or {}}}


def _protocol(read: Callable[[Json], Wanted], *, is_chat: bool) -> Protocol:
    def begin(wanted: Wanted, model: str) -> RunAnswer:
        return RunAnswer(model, shape.now(), wanted.began_ns, is_chat=is_chat)

    return Protocol(read, begin, shape.error_body, Framing.LINES)


CHAT: Final = _protocol(read_chat, is_chat=True)
GENERATE: Final = _protocol(read_generate, is_chat=False)
