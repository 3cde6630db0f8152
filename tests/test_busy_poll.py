"""Busy polling: only for the client that asks at once, never while somebody else waits."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterator

import pytest

from rkllmd import busy_poll
from rkllmd.busy_poll import BusyPoll

Pair = tuple[stdlib_socket.socket, stdlib_socket.socket]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests mean the same on every machine, however slow."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(busy_poll, "SECONDS", 0.05)


def connected() -> Iterator[Pair]:
    ours, theirs = stdlib_socket.socketpair()
    with ours, theirs:
        yield ours, theirs


one = pytest.fixture(connected, name="one")
other = pytest.fixture(connected, name="other")


def polling(*pairs: Pair, may_wait: bool = True) -> BusyPoll:
    poll = BusyPoll(lambda: may_wait)
    for ours, _ in pairs:
        poll.add(ours)
    return poll


def test_it_finds_the_client_that_has_asked(one: Pair, other: Pair) -> None:
    poll = polling(one, other)
    one[1].send(b"x")
    assert poll.finds(one[0])
    assert not poll.finds(other[0])


def test_it_gives_up_after_a_moment(one: Pair) -> None:
    assert not polling(one).finds(one[0])


def test_nobody_waits_for_one_that_asks_without_a_pause(one: Pair, other: Pair) -> None:
    poll = polling(one, other)
    one[1].send(b"x")
    other[1].send(b"x")
    assert not poll.finds(one[0]), "the event loop takes turns"


def test_a_client_that_has_left_is_looked_at_no_more(one: Pair, other: Pair) -> None:
    poll = polling(one, other)
    other[1].close()
    other[0].close()
    one[1].send(b"x")
    assert poll.finds(one[0])


def test_not_while_something_else_goes_on(one: Pair) -> None:
    one[1].send(b"x")
    assert not polling(one, may_wait=False).finds(one[0])


def test_not_on_a_single_core_which_the_client_needs(one: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    one[1].send(b"x")
    assert not polling(one).finds(one[0])
