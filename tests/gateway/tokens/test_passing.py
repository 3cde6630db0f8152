"""What comes is passed on without a turn of the event loop, and whatever ends that loses nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.tokens.passing import Passing, Way

PASSING = Passing()
WORDS = b"x" * 10_000


def upper(data: bytes) -> tuple[bytes, bytes]:
    """Take what stands before the first dot."""
    before, dot, after = data.partition(b".")
    return before.upper(), dot + after


@contextmanager
def sockets() -> Iterator[tuple[Way, socket.socket, socket.socket]]:
    """Yield a way, and the far ends of its sockets."""
    daemon, source = socket.socketpair()
    target, client = socket.socketpair()
    with daemon, source, target, client:
        source.setblocking(False)
        target.setblocking(False)
        yield Way(source, target.fileno(), upper), daemon, client


async def test_it_passes_on_in_chunks_until_something_else_comes() -> None:
    with sockets() as (way, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PASSING.carry, way)
            await wait_all_tasks_blocked()
            for words in (b"one", b"two"):
                daemon.sendall(words)
                assert await trio.to_thread.run_sync(client.recv, 100) == b"3\r\n%b\r\n" % words.upper()
            daemon.sendall(b"a.rest")
        assert client.recv(100) == b"1\r\nA\r\n"
        assert (way.rest, way.unsent) == (b".rest", b"")
        daemon.sendall(b"later")
        assert way.source.recv(100) == b"later", "it takes no more"


async def test_one_that_is_given_up_takes_nothing_any_more() -> None:
    with sockets() as (way, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PASSING.carry, way)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        daemon.sendall(b"a")
        with sockets() as (another, other_daemon, _):  # the thread has looked at everything that came before
            other_daemon.sendall(b".")
            await PASSING.carry(another)
        assert way.source.recv(100) == b"a"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_what_a_client_does_not_take_is_kept_and_no_more_is_read() -> None:
    with sockets() as (way, daemon, client):
        ended: list[bool] = []
        way.begin(lambda: ended.append(way.has_ended))
        given = 0
        while not way.has_ended:
            daemon.sendall(WORDS)
            given += 1
            way.pass_on()
        assert (ended, way.rest) == ([True], b"")
        daemon.sendall(b"later")
        way.pass_on()
        assert way.source.recv(100) == b"later"
        client.setblocking(False)
        taken = b"".join(iter(partial(_received, client), b"")) + way.unsent
        assert way.unsent
    assert taken == given * (b"%x\r\n%b\r\n" % (len(WORDS), WORDS.upper()))


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 20)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("who", ["daemon", "client"])
async def test_it_ends_when_one_of_both_has_gone(who: str) -> None:
    with sockets() as (way, daemon, client), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PASSING.carry, way)
            await wait_all_tasks_blocked()
            if who == "daemon":
                daemon.close()
            else:
                client.close()
                daemon.sendall(b"abc")
        assert way.unsent == (b"" if who == "daemon" else b"3\r\nABC\r\n")


async def test_an_error_ends_its_own_way_alone() -> None:
    def fail(data: bytes) -> tuple[bytes, bytes]:
        raise MemoryError

    with sockets() as (way, daemon, client), sockets() as (broken, other, _), trio.fail_after(60):
        broken = Way(broken.source, 0, fail)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PASSING.carry, way)
            other.sendall(b"a")
            with pytest.raises(MemoryError):
                await PASSING.carry(broken)
            daemon.sendall(b"b")
            assert await trio.to_thread.run_sync(client.recv, 100) == b"1\r\nB\r\n"
            nursery.cancel_scope.cancel()
