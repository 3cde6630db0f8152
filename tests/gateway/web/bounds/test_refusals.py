"""Who wants to know of clients that are refused is told, and nobody has to."""

from __future__ import annotations

from rkllmd.gateway.web.bounds.refusals import Refusals


def test_who_wants_to_know_is_told() -> None:
    refusals = Refusals()
    refusals.add("192.168.0.7", 503)
    told = []
    refusals.tell = lambda address, status: told.append((address, status))
    refusals.add("192.168.0.8", 400)
    assert told == [("192.168.0.8", 400)]
