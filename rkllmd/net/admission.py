"""Which client may connect, and which one is dropped for it. It decides, without I/O; times are monotonic seconds.

No user may keep the others out: each may only have a part of the connections, some are reserved for operators, and when
no connection is left, a client that has been idle for a while is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol, TypeVar

from rkllmd.config.settings import Config
from rkllmd.errors import QueueFull

# A client that connects to send a request has sent it by then, and one that pauses between two requests connects again
# without its user's noticing.
IDLE_SECONDS: Final = 10.0
_RETRY_MS: Final = 1000


class Guest(Protocol):
    """A client that is connected."""

    @property
    def user(self) -> int | None:
        """Return its uid."""

    @property
    def heard_at(self) -> float:
        """Return when it last sent something, or connected."""

    def is_waiting(self) -> bool:
        """Return whether it has anything open: a call, a subscription, an object that would be released with it."""


G = TypeVar("G", bound=Guest)


@dataclass(frozen=True)
class Rules:
    """How many clients may be connected."""

    # In all, of one user, and of all users except operators.
    most: int
    most_per_user: int
    most_of_others: int
    is_operator: Callable[[int | None], bool]


def rules(config: Config) -> Rules:
    """Return the rules of the configuration."""
    most = config.max_connections
    return Rules(most, config.max_connections_per_user, max(1, most - config.reserved_connections), config.is_operator)


def has_room(connected: int, rules: Rules) -> bool:
    """Return whether any user may connect, whoever is connected: as nearly always, and then nobody is looked at."""
    return connected < min(rules.most, rules.most_per_user, rules.most_of_others)


def admit(user: int | None, guests: Collection[G], rules: Rules, now: float) -> G | None:
    """Return the client to drop so that another one of ``user`` may connect; None if none. Raises QueueFull."""
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
    """Return the client whose loss costs least: the longest silent one of the user with the most idle clients."""
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
