"""What a connection owes to others, and to its own client when the daemon leaves; the rest is in tests/server."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rkllmd.errors import ShuttingDown
from rkllmd.net.connection import Connection
from rkllmd.net.hangup import HangupWatcher
from rkllmd.net.receiver import Receiver
from rkllmd.wire import jsonrpc
from tests.net.connecting import Turns, make_context, serve


def test_no_token_follows_the_answer_of_a_run_that_the_daemon_does_not_wait_for() -> None:
    """The runtime goes on while the last answers go out to slower clients."""

    async def tell() -> bytes:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        context = make_context(Turns())
        connection = Connection(theirs, context, HangupWatcher(), Receiver(lambda: True))
        (call,), _ = connection.exchange.receive(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"method":"slow"}'))
        connection.refuse(call, ShuttingDown("The daemon is shutting down."))
        connection.send_partials(call, [{"text": "late", "seq": 0}], as_notifications=False)
        assert connection.partial_sender(call, as_notifications=False)({"text": "late", "seq": 1}), "nothing to retry"
        assert context.npu.stop()
        with ours, theirs:
            return ours.recv(1 << 20)

    (line,) = trio.run(tell).splitlines()
    assert json.loads(line)["error"]["data"]["kind"] == "ShuttingDown"


async def test_a_client_that_is_lost_just_when_a_writer_is_to_start_ends_nobody_else() -> None:
    """The kernel takes a part of an answer, and the next thing that is received is ECONNRESET."""
    context = make_context(Turns())
    for _ in range(20):  # trio decides by chance which of two tasks is first
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        connection = Connection(theirs, context, HangupWatcher(), Receiver(lambda: False))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.serve)
            await wait_all_tasks_blocked()
            connection.notify(b"x" * (1 << 20))
            ours.close()  # what it has not read makes this a reset
            connection._reader._on_readable()
    assert context.npu.stop()


async def test_a_client_that_reads_slowly_is_not_dropped_and_one_that_stops_is(mock_clock: MockClock) -> None:
    """The kernel says that a socket can be written to when three quarters of it are free: that takes a slow client."""
    context = make_context(Turns())
    seconds = context.config.outbox_seconds
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    connection = Connection(theirs, context, HangupWatcher(), Receiver(lambda: False))
    with ours:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.serve)
            await wait_all_tasks_blocked()
            connection.notify(b"x" * (1 << 20))
            await wait_all_tasks_blocked()
            for _ in range(4):
                ours.recv(50_000)  # the kernel keeps a piece of 36 KB until it is read whole
                mock_clock.jump(seconds * 1.01)
                await wait_all_tasks_blocked()
                assert not connection.is_gone
            mock_clock.jump(seconds * 1.01)
            await wait_all_tasks_blocked()
            assert connection.is_gone
    assert context.npu.stop()


@pytest.mark.parametrize("fails", ["results", "everything"])
@pytest.mark.parametrize("is_batch", [False, True])
async def test_no_client_waits_for_an_answer_for_which_there_is_no_memory(
    monkeypatch: pytest.MonkeyPatch, fails: str, is_batch: bool
) -> None:
    encode = jsonrpc._encode

    def without_memory(answer: Any) -> jsonrpc.Line:
        if fails == "everything" or "result" in answer:
            raise MemoryError
        return encode(answer)

    monkeypatch.setattr(jsonrpc, "_encode", without_memory)
    request = b'{"jsonrpc":"2.0","id":1,"method":"slow"}'
    answers = await serve(
        Turns(0), (b"[%b,%b]" % (request, request.replace(b"1,", b"2,")) if is_batch else request) + b"\n"
    )
    if fails == "everything":
        assert answers == b"", "the connection ends"
        return
    told = json.loads(answers)
    assert [answer["error"]["data"]["kind"] for answer in (told if is_batch else [told])] == ["OutOfMemory"] * (
        1 + is_batch
    )
