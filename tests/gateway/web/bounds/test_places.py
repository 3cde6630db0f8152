"""Idle connections leave for others; busy ones stay."""

from __future__ import annotations

import pytest

from rkllmd.gateway.web.bounds.places import FullError, Places


def test_the_oldest_idle_one_of_who_has_most_leaves() -> None:
    places: Places[str] = Places(4, 3)
    assert [places.enter(name, name[0]) for name in ("b1", "a1", "a2", "a3")] == [None] * 4
    places.mark("a1", idle=False)
    assert places.enter("c1", "c") == "a2", "a1 has a request, b1 is older but alone"
    places.mark("a1", idle=True)
    places.leave("b1")
    assert places.enter("a4", "a") is None
    assert places.enter("a5", "a") == "a3", "three are all that one address has"
    assert places.enter("a6", "a") == "a1", "which has been idle for longest now"


def test_busy_ones_stay() -> None:
    places: Places[int] = Places(3, 2)
    for number in (1, 2):
        places.enter(number, "a")
        places.mark(number, idle=False)
    with pytest.raises(FullError):
        places.enter(3, "a")
    assert places.enter(3, "b") is None
    places.mark(3, idle=False)
    with pytest.raises(FullError):
        places.enter(4, "c")
    places.leave(1)
    assert places.enter(4, "c") is None
