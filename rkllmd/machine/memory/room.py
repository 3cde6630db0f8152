"""Whether something fits into memory. It decides, without I/O.

The kernel kills where the machine has nothing left, and where a control group has reached its limit, however much the
machine has. So there are several rooms, each in the other, and the narrowest counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rkllmd.config.values import DEFAULT_RESERVE
from rkllmd.quick_dataclass import dataclass

# Unless it is configured, the reserve is at most this part of all memory: a gigabyte is most of a small board.
_LARGEST_RESERVE: Final = 4


@dataclass(frozen=True, slots=True)
class Room:
    """Memory in one place: all of it, and what can be had of it without swapping.

    ``where``: "this machine", or which control group.
    """

    where: str
    total_bytes: int
    available_bytes: int


def reserve_in(room: Room, configured: int) -> int:
    """Return how many bytes of a room are for everything else, by the setting memory_reserve_bytes."""
    return min(configured, room.total_bytes // _LARGEST_RESERVE) if configured == DEFAULT_RESERVE else configured


def narrowest(rooms: Iterable[Room], reserve: int) -> Room | None:
    """Return the room that has least beyond its reserve; None if nothing is known of any."""
    return min(rooms, key=lambda room: room.available_bytes - reserve_in(room, reserve), default=None)


def has_room(needed: int, room: Room, kept_free: int, given_back: int = 0) -> bool:
    """Return whether this many bytes fit beside those ``kept_free``, once others have ``given_back`` theirs."""
    return needed + kept_free <= room.available_bytes + given_back
