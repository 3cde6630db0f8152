"""Clients are answered while there is no daemon, and none of them holds up the keeper."""

from __future__ import annotations

import array
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.keeper.answering import Answering
from tests.daemon import SEEN_SECONDS, until
from tests.keeper.keeping import answer
from tests.wire.lingering import Lingering, let_go

LINE = b"{}\n"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "socket"))
        found.listen()
        found.setblocking(False)
        yield found


def connected(listening: socket.socket) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(SEEN_SECONDS)
    client.connect(listening.getsockname())
    return client


def process_of(answering: Answering) -> int:
    assert answering._process is not None
    return answering._process


def reap(answering: Answering, process: int) -> None:
    """Wait for a child, and tell of its end as the keeper does."""
    until("its end", lambda: os.waitpid(process, os.WNOHANG)[0] == process)
    answering.has_ended(process)


def test_all_who_wait_are_answered(listening: socket.socket) -> None:
    answering = Answering()
    answering.begin(listening, LINE, time.monotonic())
    assert not answering.is_busy, "nobody waits"
    clients = [connected(listening) for _ in range(3)]
    answering.begin(listening, LINE, time.monotonic())
    assert [answer(client) for client in clients] == [{}] * 3
    reap(answering, process_of(answering))
    assert not answering.is_busy
    for client in clients:
        client.close()


def test_one_who_can_not_be_closed_does_not_keep_others_waiting_for_ever(listening: socket.socket) -> None:
    answering, now = Answering(), time.monotonic()
    with Lingering() as lingering:
        number = lingering.give()
        hostile = connected(listening)
        hostile.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number]))])
        let_go(number)
        answering.begin(listening, LINE, now)
        assert answer(hostile) == {}
        held_up = process_of(answering)
        client = connected(listening)
        answering.begin(listening, LINE, now + 0.5)
        assert answering.is_busy, "the other one may still end by itself"
        answering.begin(listening, LINE, now + 2)
        assert answer(client) == {}
        reap(answering, held_up)
        assert answering.is_busy
        reap(answering, process_of(answering))
        assert not answering.is_busy
        hostile.close()
        client.close()


def test_who_finishes_waits_until_all_are_answered_and_leaves_no_process(listening: socket.socket) -> None:
    answering = Answering()
    answering.finish()
    with connected(listening) as client:
        answering.begin(listening, LINE, time.monotonic())
        process = process_of(answering)
        answering.finish()
        assert not answering.is_busy
        assert answer(client) == {}
    with pytest.raises(ChildProcessError):
        os.waitpid(process, os.WNOHANG)


def test_its_signals_are_not_taken_for_the_keepers(listening: socket.socket) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    answering = Answering()
    with Lingering() as lingering, connected(listening) as hostile:
        number = lingering.give()
        hostile.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number]))])
        let_go(number)
        before = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        woken = signal.set_wakeup_fd(writer)
        try:
            answering.begin(listening, LINE, time.monotonic())
            assert answer(hostile) == {}
            os.kill(process_of(answering), signal.SIGUSR1)
            with pytest.raises(BlockingIOError):
                os.read(reader, 1)
        finally:
            signal.set_wakeup_fd(woken)
            signal.signal(signal.SIGUSR1, before)
        lingering.take_all()
        reap(answering, process_of(answering))
    os.close(reader)
    os.close(writer)
