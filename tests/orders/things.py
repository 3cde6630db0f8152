"""What the model remembers: clients, what they have in flight, and what was made."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.wire_connection import Wire


@dataclass(eq=False)
class Thing:
    """A model, context or memory: who may use it (None: everybody), and what is known of its life."""

    kind: str
    number: int
    owner: Client | None
    parent: Thing | None = None
    # Calls under way that end it, and whether one of them may have ended it without anybody being told.
    enders: int = 0
    is_unsure: bool = False
    is_dead: bool = False

    @property
    def is_certain(self) -> bool:
        """Return whether it is alive for sure."""
        return not (self.is_dead or self.is_unsure or self.enders or (self.parent and not self.parent.is_certain))


@dataclass(eq=False)
class Request:
    """A call that is to be answered once, and what its answer may be: kinds of errors, None for a result."""

    method: str
    client: Client
    uses: list[Thing]
    ends: list[Thing]
    allowed: set[str | None]
    makes: str | None = None
    is_kept: bool = False
    parent: Thing | None = None
    is_limited: bool = False
    inner: Request | None = None  # of server.submit
    next_seq: int = 0


@dataclass(eq=False)
class Client:
    """A connection and what it has in flight, by id."""

    wire: Wire
    in_flight: dict[str, Request] = field(default_factory=dict)
    sent: int = 0
    has_shut: bool = False
