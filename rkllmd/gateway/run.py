"""One run of the daemon in another protocol: what a request asks for, and what an answer is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants: ``params`` for ``rkllm.run_async``, without the handle of the ``model``."""

    model: str | None
    params: JsonObject = field(default_factory=dict)
    streams: bool = False
    # Whether a stream ends with what counts tokens, where that is asked for.
    includes_usage: bool = False


class Answer(ABC):
    """An answer in a client's protocol, made of the daemon's results; ``partial`` and ``final`` are for streams."""

    @abstractmethod
    def begin(self) -> Iterable[JsonObject]:
        """Return what a stream begins with."""

    @abstractmethod
    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what a partial result adds to a stream."""

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


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol of clients: how a request is read, an answer begun for it by the model's name, an error shown.

    ``read`` raises WrongField or Failure. ``is_sse``: a stream is made of server-sent events, else of lines of JSON.
    """

    read: Callable[[Json], Wanted]
    answer: Callable[[Wanted, str], Answer]
    error: Callable[[Failure], JsonObject]
    is_sse: bool


def check_ended(result: JsonObject) -> JsonObject:
    """Return a final result of a run that came to its own end. Raises Failure for one that somebody else has ended."""
    if result.get("finish_reason") in ("abort", "pause"):
        raise Failure(503, "Cancelled", "The answer was ended before it was complete: somebody else stopped the run.")
    return result
