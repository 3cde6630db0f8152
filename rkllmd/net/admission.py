"""Who may connect, and who has to go for that. Plain decisions; all times are the monotonic clock's, in seconds.

No user may keep the others out: each may have a part of the connections, some are left for those who look after the
daemon, and who has had nothing to ask for a while makes room when there is no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol, TypeVar

from rkllmd.config.settings import Config
from rkllmd.errors import QueueFull

# Who connects to ask has asked by then, and who thinks between two questions connects again without noticing.
IDLE_SECONDS: Final = 10.0
_RETRY_MS: Final = 1000


class Guest(Protocol):
    """A client that is connected."""

    @property
    def user(self) -> int | None:
        """Return its uid."""

    @property
    def heard_at(self) -> float:
        """Return when it said something last, or connected."""

    def is_waiting(self) -> bool:
        """Return whether anything is open: a call, a subscription, an object that would go with it."""


G = TypeVar("G", bound=Guest)


@dataclass(frozen=True)
class Rules:
    """How many may be connected."""

    # In all, of one user, and of all but the operators.
    most: int
    most_per_user: int
    most_of_others: int
    is_operator: Callable[[int | None], bool]


def rules(config: Config) -> Rules:
    """Return the rules of the configuration."""
    most = config.max_connections
    return Rules(most, config.max_connections_per_user, max(1, most - config.reserved_connections), config.is_operator)


def make_room(user: int | None, guests: Collection[G], rules: Rules, now: float) -> G | None:
    """Return who has to go so that another client of ``user`` may connect; None if nobody. Raises QueueFull."""
    if rules.is_operator(user):
        if len(guests) < rules.most:
            return None
        return _longest_idle(guests, now) or _refuse(rules.most, "max_connections", len(guests))
    of_user = [guest for guest in guests if guest.user == user]
    if len(of_user) >= rules.most_per_user:
        return _longest_idle(of_user, now) or _refuse(rules.most_per_user, "max_connections_per_user", len(of_user))
    if len(guests) < rules.most_of_others:
        return None
    others = [guest for guest in guests if not rules.is_operator(guest.user)]
    return _longest_idle(others, now) or _refuse(rules.most_of_others, "max_connections", len(guests))


def _longest_idle(guests: Iterable[G], now: float) -> G | None:
    """Return whom it costs least to lose: of the user with the most such clients the one silent for longest."""
    idle = [guest for guest in guests if now - guest.heard_at >= IDLE_SECONDS and not guest.is_waiting()]
    count = Counter(guest.user for guest in idle)
    return max(idle, key=lambda guest: (count[guest.user], -guest.heard_at), default=None)


def _refuse(limit: int, setting: str, connected: int) -> NoReturn:
    whose = " of this user" if setting.endswith("per_user") else ""
    raise QueueFull(
        f"{connected} clients{whose} are connected, and {limit} may be ({setting}): close some, or try again later.",
        queued=connected,
        limit=limit,
        retry_after_ms=_RETRY_MS,
    )
