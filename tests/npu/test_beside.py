"""The thread beside the worker: what is given to it, what is told of it, and when a call is late."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from rkllmd.errors import Timeout
from rkllmd.npu.beside import Beside


class Played:
    """A thread beside a worker, and what it has told."""

    def __init__(self, patience: float = math.inf) -> None:
        self.late: list[tuple[str, float]] = []
        self.told: list[Timeout | None] = []
        self.beside = Beside(lambda: patience, lambda name, seconds: self.late.append((name, seconds)))
        self._told = trio.Event()

    def listen(self) -> None:
        """Note what is told of the calls that were given by now."""

        def told(late: Timeout | None) -> None:
            self.told.append(late)
            self._told.set()

        self.beside.when_returned(told)

    async def wait(self) -> None:
        """Wait until something was told since the last time."""
        with trio.fail_after(120):
            await self._told.wait()
        self._told = trio.Event()


async def test_what_is_given_is_done_in_its_order_on_one_other_thread() -> None:
    played, done = Played(), []
    for name in "ab":
        played.beside.give(name, lambda name=name: done.append((name, threading.get_ident())))  # type: ignore[misc]
    assert not played.beside.is_idle
    played.listen()
    await played.wait()
    assert [name for name, _ in done] == ["a", "b"]
    assert len({thread for _, thread in done} - {threading.get_ident()}) == 1
    assert played.told == [None]
    assert played.beside.is_idle


async def test_where_nothing_is_under_way_nobody_waits() -> None:
    played = Played()
    played.listen()
    assert played.told == [None]


async def test_what_fails_does_not_end_the_thread() -> None:
    played = Played()

    def fails() -> None:
        raise SystemExit

    with capture_logs() as logs:
        played.beside.give("fails", fails)
        played.listen()
        await played.wait()
    assert [line["event"] for line in logs] == ["call_beside_a_run_failed"]
    played.beside.give("works", lambda: None)
    played.listen()
    await played.wait()
    assert played.told == [None, None]


@pytest.fixture
def gate() -> Any:
    gate = threading.Event()
    yield gate
    gate.set()


async def test_a_late_call_is_told_once_and_said_again_and_again(gate: threading.Event) -> None:
    played = Played(patience=10)
    played.beside.give("rkllm_abort", gate.wait)
    played.listen()
    begin = time.monotonic()
    played.beside.check(begin + 9)
    assert played.told == []
    with capture_logs():
        played.beside.check(begin + 10.5)
        played.beside.check(begin + 11)
        played.beside.check(begin + 20.5)
    (late,) = played.told
    assert isinstance(late, Timeout)
    assert late.message.startswith("rkllm_abort has not returned for 10.")
    assert late.data["limit_ms"] == 10_000
    assert [name for name, _ in played.late] == ["rkllm_abort"] * 2
    await played.wait()
    played.listen()
    gate.set()
    await played.wait()
    assert played.told == [late, None], "it has returned at last"


async def test_it_is_watched(gate: threading.Event) -> None:
    played = Played(patience=0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(played.beside.watch)
        with capture_logs():
            played.beside.give("rkllm_abort", gate.wait)
            played.listen()
            await played.wait()
        nursery.cancel_scope.cancel()
    assert isinstance(played.told[0], Timeout)
