"""What comes is passed on without a turn of the event loop, and whatever ends that loses nothing."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.tokens.passing import Way
from tests.gateway.chunks import joined


def upper(data: bytes) -> tuple[bytes, bytes]:
    """Take what stands before the last line that is not whole, and before the first dot."""
    before, dot, after = data.partition(b".")
    if dot:
        return before.upper(), dot + after
    whole, newline, rest = data.rpartition(b"\n")
    return (whole + newline).upper(), rest


@contextmanager
def sockets(idle_seconds: float = 60) -> Iterator[tuple[Way, socket.socket, socket.socket, socket.socket]]:
    """Yield a way, the socket that it reads, and the far ends of both of its sockets."""
    daemon, source = socket.socketpair()
    target, client = socket.socketpair()
    with daemon, source, target, client:
        target.setblocking(False)
        yield Way(source, target.fileno(), upper, idle_seconds), source, daemon, client


async def received(client: socket.socket) -> bytes:
    return await trio.to_thread.run_sync(client.recv, 1 << 20)


async def test_it_passes_on_in_chunks_until_something_else_comes() -> None:
    with sockets() as (way, source, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(way.carry)
            daemon.sendall(b"one\ntw")
            assert await received(client) == b"4\r\nONE\n\r\n"
            daemon.sendall(b"o\n")
            assert await received(client) == b"4\r\nTWO\n\r\n"
            daemon.sendall(b"a.rest\n")
        assert await received(client) == b"1\r\nA\r\n"
        assert (way.rest, way.unsent, way.was_idle) == (b".rest\n", b"", False)
        daemon.sendall(b"later")
        assert source.recv(100) == b"later", "it takes no more"


async def test_where_it_is_given_up_the_daemon_is_left() -> None:
    with sockets() as (way, _, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(way.carry)
            daemon.sendall(b"a\n")
            assert await received(client) == b"2\r\nA\n\r\n"
            nursery.cancel_scope.cancel()
        assert daemon.recv(1) == b""
        assert (way.rest, way.unsent, way.was_idle) == (b"", b"", False)


async def test_many_lines_at_once_are_passed_on_as_they_come() -> None:
    with sockets() as (way, _, daemon, client), trio.fail_after(60):
        lines = b"".join(b"%d\n" % number for number in range(1_000))
        daemon.sendall(lines + b".\n")
        await way.carry()
        assert joined(await received(client)) == lines


async def test_a_client_that_has_left_is_not_confused_with_who_comes_next() -> None:
    with sockets() as (way, _, daemon, client), trio.fail_after(60):
        target = way._target
        async with trio.open_nursery() as nursery:
            nursery.start_soon(way.carry)
            daemon.sendall(b"a\n")
            assert await received(client) == b"2\r\nA\n\r\n"
            next_client, far = socket.socketpair()
            with next_client, far:
                os.dup2(next_client.fileno(), target)
                daemon.sendall(b"b\n")
                assert await received(client) == b"2\r\nB\n\r\n"
                far.setblocking(False)
                with pytest.raises(BlockingIOError):
                    far.recv(1)
            nursery.cancel_scope.cancel()


async def test_without_another_descriptor_it_leaves_all_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with sockets() as (way, source, daemon, _), trio.fail_after(60):
        daemon.sendall(b"one\n")
        with monkeypatch.context() as without:
            without.setattr(os, "dup", no_more)
            await way.carry()
        assert (way.rest, way.unsent, way.was_idle) == (b"", b"", False)
        assert source.recv(100) == b"one\n"


async def test_a_pause_ends_it_and_half_a_line_is_kept() -> None:
    with sockets(0.01) as (way, source, daemon, _), trio.fail_after(60):
        daemon.sendall(b"hal")
        await way.carry()
        assert (way.rest, way.was_idle) == (b"hal", True)
        with pytest.raises(BlockingIOError):
            source.recv(1)


async def test_a_long_line_is_looked_at_once() -> None:
    looked_at: list[int] = []

    def count(data: bytes) -> tuple[bytes, bytes]:
        looked_at.append(len(data))
        return b"", data

    line = b"x" * 4_000_000 + b"\n"
    daemon, source = socket.socketpair()
    with daemon, source, trio.fail_after(60):
        way = Way(source, daemon.fileno(), count, 60)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(way.carry)
            nursery.start_soon(partial(trio.to_thread.run_sync, daemon.sendall, line))
        assert (way.rest, looked_at) == (line, [len(line)])


async def test_what_a_client_does_not_take_is_kept_and_no_more_is_read() -> None:
    given = b""
    has_ended = trio.Event()
    with sockets() as (way, source, daemon, client), trio.fail_after(60):

        async def carry() -> None:
            await way.carry()
            has_ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry)
            daemon.setblocking(False)
            while not has_ended.is_set():
                line = b"%d " % len(given) * 1000 + b"\n"
                given += line[: _moved(daemon.send, line) or 0]
                await trio.lowlevel.checkpoint()
        assert way.unsent
        client.setblocking(False)
        chunks = b"".join(iter(partial(_moved, client.recv, 1 << 20), None)) + way.unsent
        left = b"".join(iter(partial(_moved, source.recv, 1 << 20), None))
    assert joined(chunks) + way.rest + left == given


def _moved(call: Callable[[Any], Any], given: Any) -> Any:
    """Return what a call of a socket does, None where it would wait."""
    try:
        return call(given)
    except BlockingIOError:
        return None


@pytest.mark.parametrize("before", [b"", b"a\n"])
async def test_the_daemon_may_go_in_the_middle_of_a_line(before: bytes) -> None:
    with sockets() as (way, source, daemon, _), trio.fail_after(60):
        daemon.sendall(before + b"half a li")
        daemon.close()
        await way.carry()
        assert (way.rest, way.unsent, way.was_idle) == (b"half a li", b"", False)
        assert source.recv(1) == b"", "who reads next finds out"


@pytest.mark.parametrize("who", ["daemon", "client"])
async def test_it_ends_when_one_of_both_has_gone(who: str) -> None:
    with sockets() as (way, _, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(way.carry)
            await wait_all_tasks_blocked()
            if who == "daemon":
                daemon.close()
            else:
                client.close()
                daemon.sendall(b"abc\n")
        assert way.unsent == (b"" if who == "daemon" else b"4\r\nABC\n\r\n")


async def test_without_a_thread_it_leaves_all_to_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    with sockets() as (way, source, daemon, _), trio.fail_after(60):
        daemon.sendall(b"one\n")
        with monkeypatch.context() as without:
            without.setattr(trio.to_thread, "run_sync", no_thread)
            await way.carry()
        assert (way.rest, way.unsent, way.was_idle) == (b"", b"", False)
        assert source.recv(100) == b"one\n"
        daemon.sendall(b"two\n")
        assert source.recv(100) == b"two\n", "the daemon is not left"


async def test_what_can_not_be_translated_is_an_error_of_its_own_stream() -> None:
    def fail(data: bytes) -> tuple[bytes, bytes]:
        raise MemoryError

    with sockets() as (_, source, daemon, client), trio.fail_after(60):
        daemon.sendall(b"a\n")
        with pytest.raises(MemoryError):
            await Way(source, client.fileno(), fail, 60).carry()
