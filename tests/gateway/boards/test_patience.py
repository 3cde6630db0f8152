"""Balancers say how long they wait for a run to begin."""

from __future__ import annotations

import pytest

from rkllmd.gateway.boards import patience


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"wait=600", 600),
        (b"respond-async, WAIT = 10", 10),
        (b"wait=5; x=1, return=minimal", 5),
        (b"return=minimal", None),
        (b"await=3", None),
        (b"wait=soon", None),
        (b"wait=-1", None),
    ],
)
def test_what_is_preferred(value: bytes, seconds: float | None) -> None:
    assert patience.seconds([(b"host", b"wait=1"), (b"prefer", value)]) == seconds


def test_nothing_is_preferred_by_most() -> None:
    assert patience.seconds([]) is None
