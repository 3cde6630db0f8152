"""Accepting, also when descriptors run out."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from rkllmd.net.listening import accepting as accepting_connections
from rkllmd.net.listening import lobby
from rkllmd.net.listening.accepting import _TAKEN_AT_ONCE
from rkllmd.wire.credentials import Credentials
from tests.net.listening.sockets import Accepting, bound, connect


async def test_clients_are_accepted_without_blocking(path: str, accepting: Accepting) -> None:
    with connect(path), connect(path):
        with trio.fail_after(120):
            await accepting.accepted(2)
        assert [socket.getblocking() for socket in accepting.sockets] == [False, False]


async def test_who_has_left_without_a_word_is_no_client(path: str, accepting: Accepting) -> None:
    rounds = 0
    with contextlib.ExitStack() as stack:
        for _ in range(3 * _TAKEN_AT_ONCE):
            connect(path).close()
        said = stack.enter_context(connect(path))
        said.send(b"x")
        said.shutdown(stdlib_socket.SHUT_WR)
        silent = stack.enter_context(connect(path))
        while len(accepting.sockets) < 2:
            await trio.lowlevel.checkpoint()
            rounds += 1
        assert accepting.sockets[0].recv(2) == b"x", "nothing was taken from it"
        silent.send(b"y")
        assert accepting.sockets[1].recv(2) == b"y"
    assert rounds < _TAKEN_AT_ONCE


async def test_nobody_waits_behind_another_users_thousands(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd, more = lobby.LEAST_ROOM, 10
    users = iter([1000] * (crowd + more) + [1001])
    monkeypatch.setattr(accepting_connections, "credentials_of", lambda _: Credentials(1, next(users), 1))
    with bound(path) as listening, contextlib.ExitStack() as stack, capture_logs() as logs:
        many = [stack.enter_context(connect(path)) for _ in range(crowd + more)]
        other = stack.enter_context(connect(path))
        other.send(b"other")
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            await accepting.accepted(2)
            assert accepting.sockets[1].recv(10) == b"other", "it was the last one to come"
            assert len(accepting.sockets) < 5
            for refused in many[crowd:]:
                assert json.loads(refused.recv(1000))["error"]["data"]["kind"] == "QueueFull"
            nursery.cancel_scope.cancel()
        assert len(accepting.sockets) == crowd + 1, "who was taken is served, whatever comes"
        for socket in accepting.sockets:
            socket.close()
    assert [(line["event"], line["uid"], line["count"]) for line in logs] == [("connections_refused", 1000, more)]


async def test_a_burst_of_clients_is_accepted_in_a_few_rounds_of_the_event_loop(path: str) -> None:
    """Where others are busy, a round takes half a millisecond for each of them."""
    clients, rounds = 64, 0
    with bound(path) as listening:
        burst = [connect(path) for _ in range(clients)]
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            while len(accepting.sockets) < clients:
                await trio.lowlevel.checkpoint()
                rounds += 1
            nursery.cancel_scope.cancel()
        for socket in [*burst, *accepting.sockets]:
            socket.close()
    assert rounds < clients / 2


def failing(monkeypatch: pytest.MonkeyPatch, *errors: int) -> list[int]:
    """Let accept fail with these errors before it works again; return the errors still to come."""
    left = list(errors)
    real: Callable[..., Any] = stdlib_socket.socket.accept

    def accept(self: stdlib_socket.socket) -> Any:
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return real(self)

    monkeypatch.setattr(stdlib_socket.socket, "accept", accept)
    return left


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_accepting_recovers_when_descriptors_are_free_again(
    path: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, number: int
) -> None:
    left = failing(monkeypatch, number, number, number)
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            with connect(path):
                begun = trio.current_time()
                await accepting.accepted(1)
                assert trio.current_time() - begun == pytest.approx(0.3), "it neither spins nor sleeps long"
            nursery.cancel_scope.cancel()
        for socket in accepting.sockets:
            socket.close()
    assert left == []
    assert [entry["event"] for entry in logs] == ["accept_failed"], "one line for the whole shortage"
    expected = {errno.EMFILE: "LimitNOFILE", errno.ENFILE: "fs.file-max"}.get(number, os.strerror(number))
    assert expected in logs[0]["reason"]


async def test_each_shortage_is_logged_once(
    path: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    left = failing(monkeypatch)
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            for count in (1, 2):
                left += [errno.EMFILE, errno.EMFILE]
                with connect(path):
                    await accepting.accepted(count)
            nursery.cancel_scope.cancel()
        for socket in accepting.sockets:
            socket.close()
    assert [entry["event"] for entry in logs] == ["accept_failed"] * 2


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EAGAIN, errno.EPROTO, errno.EPERM])
async def test_a_client_that_left_before_it_was_accepted_is_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch, accepting: Accepting, number: int
) -> None:
    left = failing(monkeypatch, number)
    with capture_logs() as logs, connect(path), trio.fail_after(120):
        await accepting.accepted(1)
    assert left == []
    assert logs == []
