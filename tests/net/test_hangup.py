"""Hang-ups: a half-closed client is still there, a closed one is gone, and nobody is notified twice or too late."""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.net.hangup import HangupWatcher


class Told:
    """A callback that a test can wait for."""

    def __init__(self) -> None:
        self.count = 0
        self._event = trio.Event()

    def __call__(self) -> None:
        """Note the call."""
        self.count += 1
        self._event.set()

    async def wait(self) -> None:
        """Wait until it was called."""
        with trio.fail_after(120):
            await self._event.wait()


@pytest.fixture
async def watcher() -> Any:
    """Give a watcher at work."""
    watcher = HangupWatcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield watcher
        nursery.cancel_scope.cancel()


@pytest.fixture
def pair() -> Any:
    ours, theirs = stdlib_socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def test_a_closed_client_is_gone(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    told = Told()
    with watcher.watch(ours, told):
        theirs.close()
        await told.wait()
        await wait_all_tasks_blocked()
    assert told.count == 1


async def test_a_half_closed_client_is_not(watcher: HangupWatcher, pair: Any) -> None:
    """``nc -N`` and socat shut down their sending side and go on reading."""
    ours, theirs = pair
    told = Told()
    with watcher.watch(ours, told):
        theirs.shutdown(stdlib_socket.SHUT_WR)
        await wait_all_tasks_blocked()
        assert told.count == 0
        theirs.close()
        await told.wait()
    assert told.count == 1


async def test_a_client_that_was_gone_before_is_noticed(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    theirs.close()
    told = Told()
    with watcher.watch(ours, told):
        await told.wait()
    assert told.count == 1


async def test_a_client_that_leaves_with_answers_unread_is_gone(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    ours.send(b"an answer")
    told = Told()
    with watcher.watch(ours, told):
        theirs.close()
        await told.wait()
    assert told.count == 1


async def test_reading_and_writing_are_no_events(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    told = Told()
    with watcher.watch(ours, told):
        theirs.send(b"data")
        ours.send(b"data")
        await wait_all_tasks_blocked()
    assert told.count == 0


async def test_each_client_has_its_own(watcher: HangupWatcher) -> None:
    pairs = [stdlib_socket.socketpair() for _ in range(3)]
    told = [Told() for _ in pairs]
    first, second, third = [watcher.watch(ours, item) for (ours, _), item in zip(pairs, told, strict=True)]
    with first, second, third:
        pairs[1][1].close()
        await told[1].wait()
        await wait_all_tasks_blocked()
        assert [item.count for item in told] == [0, 1, 0]
        pairs[0][1].close()
        pairs[2][1].close()
        await told[0].wait()
        await told[2].wait()
    assert [item.count for item in told] == [1, 1, 1]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


async def test_after_the_context_nobody_is_told(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    told, again = Told(), Told()
    with watcher.watch(ours, told):
        pass
    theirs.close()
    await wait_all_tasks_blocked()
    assert told.count == 0
    with watcher.watch(ours, again):  # the same descriptor may be watched anew
        await again.wait()
    assert (told.count, again.count) == (0, 1)


async def test_an_exception_inside_the_context_ends_the_watch(watcher: HangupWatcher, pair: Any) -> None:
    ours, theirs = pair
    told = Told()
    with pytest.raises(KeyError), watcher.watch(ours, told):
        raise KeyError
    theirs.close()
    await wait_all_tasks_blocked()
    assert told.count == 0


async def test_one_that_leaves_while_another_is_told_is_not_told(watcher: HangupWatcher) -> None:
    """The first callback ends the second's watch: both were reported by the kernel in one go."""
    pairs = [stdlib_socket.socketpair() for _ in range(2)]
    told = Told()
    watches: list[Any] = []

    def ends_all() -> None:
        told()
        while watches:
            watches.pop().__exit__(None, None, None)

    for ours, theirs in pairs:
        watch = watcher.watch(ours, ends_all)
        watch.__enter__()
        watches.append(watch)
        theirs.close()
    await told.wait()
    await wait_all_tasks_blocked()
    assert told.count == 1
    for ours, _ in pairs:
        ours.close()


async def test_what_cannot_be_watched_leaves_nothing_behind(watcher: HangupWatcher, tmp_path: Any) -> None:
    class File:
        def fileno(self) -> int:
            return number

    number = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    try:
        with pytest.raises(PermissionError), watcher.watch(File(), Told()):  # type: ignore[arg-type]
            pass
    finally:
        os.close(number)
    assert watcher._callbacks == {}
