"""The narrowest room decides, each with its own reserve."""

from __future__ import annotations

from rkllmd.config.values import DEFAULT_RESERVE
from rkllmd.machine.memory.room import Room, has_room, narrowest, reserve_in

GIB = 2**30
MACHINE = Room("this machine", 8 * GIB, 5 * GIB)
GROUP = Room("the control group /a", 2 * GIB, GIB)


def test_the_reserve_is_at_most_a_quarter_unless_it_is_configured() -> None:
    assert [reserve_in(room, DEFAULT_RESERVE) for room in (MACHINE, GROUP)] == [GIB, GIB // 2]
    assert [reserve_in(room, GIB + 1) for room in (MACHINE, GROUP)] == [GIB + 1] * 2
    assert reserve_in(GROUP, 0) == 0


def test_the_narrowest_has_least_beyond_its_reserve() -> None:
    assert narrowest([MACHINE, GROUP], DEFAULT_RESERVE) is GROUP
    crowded = Room("this machine", 8 * GIB, GIB + 1)
    assert narrowest([crowded, GROUP], DEFAULT_RESERVE) is crowded
    assert narrowest([crowded, GROUP], 0) is GROUP
    assert narrowest([], 0) is None


def test_what_fits() -> None:
    assert has_room(GIB // 2, GROUP, GIB // 2)
    assert not has_room(GIB // 2 + 1, GROUP, GIB // 2)
    assert has_room(GIB // 2 + 1, GROUP, GIB // 2, given_back=1)
