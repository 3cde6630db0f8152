"""Which client may connect, and which one is dropped for it. It decides, without I/O; times are monotonic seconds.

No user may keep the others out: each may only have a part of the connections, some are reserved for operators, and when
no connection is left, a client that has been idle for a while is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final, NoReturn, Protocol, TypeVar

from rkllmd.config import quotas
from rkllmd.config.quotas import Exceeded, Quota
from rkllmd.config.settings import Config
from rkllmd.errors import QueueFull
from rkllmd.quick_dataclass import dataclass

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

    quota: Quota
    is_operator: Callable[[int | None], bool]


def rules(config: Config) -> Rules:
    """Return the rules of the configuration."""
    return Rules(quotas.connections(config), config.is_operator)


def has_room(connected: int, rules: Rules) -> bool:
    """Return whether any user may connect, whoever is connected: as nearly always, and then nobody is looked at."""
    return connected < rules.quota.least


def admit(user: int | None, guests: Collection[G], rules: Rules, now: float) -> G | None:
    """Return the client to drop so that another one of ``user`` may connect; None if none. Raises QueueFull."""
    is_operator = rules.is_operator(user)
    of_user = [guest for guest in guests if guest.user == user]
    exceeded = rules.quota.exceeded(len(of_user), len(guests), is_operator=is_operator)
    if exceeded is None:
        return None
    if exceeded.whose == "user":
        leaving = _longest_idle(of_user, now)
    else:  # an operator keeps its place before others
        leaving = _longest_idle((guest for guest in guests if is_operator or not rules.is_operator(guest.user)), now)
    return leaving or _refuse(exceeded)


def _longest_idle(guests: Iterable[G], now: float) -> G | None:
    """Return the client whose loss costs least: the longest silent one of the user with the most idle clients."""
    idle = [guest for guest in guests if now - guest.heard_at >= IDLE_SECONDS and not guest.is_waiting()]
    count = Counter(guest.user for guest in idle)
    return max(idle, key=lambda guest: (count[guest.user], -guest.heard_at), default=None)


def _refuse(exceeded: Exceeded) -> NoReturn:
    connected, limit = exceeded.used, exceeded.limit
    whose = " of this user" if exceeded.whose == "user" else ""
    raise QueueFull(
        f"{connected} clients{whose} are connected, and the limit is {limit} ({exceeded.setting}): close some, or try "
        "again later.",
        queued=connected,
        retry_after_ms=_RETRY_MS,
        **exceeded.data,
    )
