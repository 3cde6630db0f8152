"""One run of the daemon in another protocol: what a request asks for, and what an answer is made of."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

import orjson

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Names
from rkllmd.json_types import Json, JsonObject


class Residence(Enum):
    """Where a client wants a model, if that is all it wants; the values are Ollama's reasons why it was answered."""

    LOADED = "load"
    UNLOADED = "unload"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants: ``params`` for ``rkllm.run_async``, without the handle of the ``model``."""

    model: str | None
    params: JsonObject = field(default_factory=dict)
    streams: bool = False
    # Whether a stream ends with what counts tokens, where that is asked for.
    includes_usage: bool = False
    # Whether the client takes no more than one call of a function from an answer.
    single_call: bool = False
    # The functions for whose only argument, a text, the client has calls of another kind.
    custom: frozenset[str] = frozenset()
    # What the answer has to know of the request: what it repeats of it, or how it is to look.
    for_answer: JsonObject = field(default_factory=dict)
    # Instead of a run: that the model is loaded, or unloaded.
    residence: Residence | None = None
    # Where several answers are wanted: what each one after the first has instead of these parameters.
    further: Sequence[JsonObject] = ()
    # Whether the model is to leave memory after the answer.
    leaves: bool = False
    # Of which of its fields the parameters were made.
    names: Names = field(default_factory=Names, compare=False)
    # When the request was read, by the monotonic clock.
    began_ns: int = field(default_factory=time.monotonic_ns, compare=False)

    @property
    def choices(self) -> int:
        """Return how many answers are wanted: each is a run, one after the other."""
        return 1 + len(self.further)

    def choice(self, index: int) -> Wanted:
        """Return what is wanted for one of the answers."""
        return self if index == 0 else replace(self, params={**self.params, **self.further[index - 1]})


class Answer(ABC):
    """An answer in a client's protocol, made of the daemon's results; ``partial`` and ``final`` are for streams."""

    @abstractmethod
    def begin(self) -> Iterable[JsonObject]:
        """Return what a stream begins with."""

    @abstractmethod
    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what a partial result adds to a stream."""

    def plain(self, name: str, words: str) -> JsonObject | None:
        """Return the one part of a stream that ``partial`` makes of a result with nothing but these words.

        ``name``: "text" or "reasoning". None where it makes more of them, or where they change what comes after them.
        """
        return None

    @abstractmethod
    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what the final result adds to a stream, its end included."""

    @abstractmethod
    def whole(self, result: JsonObject) -> JsonObject:
        """Return the whole answer of a request that does not stream."""

    @abstractmethod
    def idle(self) -> Iterable[JsonObject]:
        """Return what shows a client of a stream, after some seconds without anything, that it is still served."""

    @abstractmethod
    def error(self, failure: Failure) -> JsonObject:
        """Return what a stream ends with that has failed."""


class NumberedAnswer(Answer):
    """An answer that counts the parts of its stream, and repeats at its end what it has said."""

    number: ClassVar[str]
    """The member of each part that has its number."""
    next_number: int
    """That of the next part."""

    @abstractmethod
    def passed(self, words: str, count: int) -> None:
        """Take notice of words of which ``count`` parts were made that are as ``plain`` says."""


class Framing(Enum):
    """What a stream is made of: lines of JSON, or server-sent events.

    NAMED_EVENTS have the ``type`` of what is in them as their names; EVENTS have none, and ``[DONE]`` at the end.
    """

    LINES = "lines"
    EVENTS = "events"
    NAMED_EVENTS = "named events"

    def frame(self, part: JsonObject) -> bytes:
        """Return a part of a stream. No event has an id: openai's client takes each later comment for an event."""
        if self is Framing.LINES:
            return orjson.dumps(part, option=orjson.OPT_APPEND_NEWLINE)
        name = f"event: {part['type']}\n".encode() if self is Framing.NAMED_EVENTS else b""
        return name + b"data: " + orjson.dumps(part) + b"\n\n"


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol of clients: how a request is read, an answer begun for it by the model's name, an error shown.

    ``read`` raises WrongField or Failure.
    """

    read: Callable[[Json], Wanted]
    answer: Callable[[Wanted, str], Answer]
    error: Callable[[Failure], JsonObject]
    framing: Framing


class WholeCalls:
    """The calls of functions in a stream, each of which is shown when it has ended.

    Not before: what turns out to be no call comes as text, and no client can take back what it was sent. ``single``:
    the client takes the first one only.
    """

    def __init__(self, *, single: bool = False) -> None:
        self._single = single
        self._begun: dict[int, JsonObject] = {}
        self._shown = 0

    def take(self, result: JsonObject) -> Iterable[JsonObject]:
        """Yield the calls that have ended with this partial result, with all of their ``arguments_text``."""
        for shown in result.get("tool_calls") or ():
            call = self._begun.setdefault(shown["index"], {"arguments_text": ""})
            text = call["arguments_text"] + shown.get("arguments_text", "")
            call |= {**shown, "arguments_text": text}
            if "arguments" in shown.get("function", ()) and not (self._single and self._shown):
                self._shown += 1
                yield call

    def all(self, result: JsonObject) -> list[JsonObject]:
        """Return the calls of a whole answer."""
        found: list[JsonObject] = result.get("tool_calls") or []
        return found[:1] if self._single else found


def arguments_text(call: JsonObject) -> str:
    """Return the arguments of a whole call as a JSON text: that of the model where it wrote JSON."""
    return call.get("arguments_text") or orjson.dumps(call["function"].get("arguments") or {}).decode()


def check_ended(result: JsonObject) -> JsonObject:
    """Return a final result of a run that came to its own end. Raises Failure for one that somebody else has ended."""
    if result.get("shutting_down"):
        message = "The answer was ended before it was complete: the daemon was asked to end."
        raise Failure(502, "ShuttingDown", message, again=True)
    if result.get("finish_reason") in ("abort", "pause"):
        raise Failure(500, "Cancelled", "The answer was ended before it was complete: somebody else stopped the run.")
    return result


def held_back(result: JsonObject) -> JsonObject:
    """Return what a final result adds to a stream: text, thoughts, tokens. Its calls were all shown before."""
    return {name: result.get(name) for name in ("reasoning", "text", "logprobs")}


def prompt_tokens(result: JsonObject) -> int:
    """Return of how many tokens the conversation was, 0 where that is not known."""
    found = result.get("prompt_tokens")
    return int(found if found is not None else (result.get("perf") or {}).get("prefill_tokens", 0))


def generated_tokens(result: JsonObject) -> int:
    """Return how many tokens the answer has, 0 where that is not known."""
    return int((result.get("perf") or {}).get("generate_tokens", 0))


def cached_tokens(result: JsonObject) -> int:
    """Return how many tokens of the conversation were not read anew."""
    return int(result.get("cached_tokens") or 0)
