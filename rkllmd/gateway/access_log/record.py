"""What is noted of a request while it is served, for the access log: by whoever finds it out, wherever that is."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from rkllmd.gateway.run import cached_tokens, generated_tokens, prompt_tokens
from rkllmd.json_types import JsonObject


@dataclass(slots=True)
class Record:
    """``key``: whose was sent; ``call``: the method of the daemon that was named; ``error``: the kind of the failure.

    Tokens are those of all runs of the request; None: there was none that has ended.
    """

    key: str | None = None
    model: str | None = None
    call: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None

    def count(self, result: JsonObject) -> None:
        """Add what a run took."""
        self.add(prompt_tokens(result), cached_tokens(result), generated_tokens(result))

    def add(self, prompt: int, cached: int = 0, generated: int = 0) -> None:
        """Add numbers of tokens."""
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt
        self.cached_tokens = (self.cached_tokens or 0) + cached
        self.generated_tokens = (self.generated_tokens or 0) + generated


_current: ContextVar[Record | None] = ContextVar("record", default=None)


def begin() -> Record:
    """Begin one for the request that this task serves, and those tasks that it starts."""
    record = Record()
    _current.set(record)
    return record


def current() -> Record:
    """Return that of the request that is served; where there is none, one that nobody reads."""
    return _current.get() or Record()
