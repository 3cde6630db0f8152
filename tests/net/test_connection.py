"""What a connection owes to others, and to its own client when the daemon leaves; the rest is in tests/server."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rkllmd.calls.declaration import Kind, Method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.timeouts import Timeouts
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.errors import ShuttingDown
from rkllmd.net import receiver
from rkllmd.net.connection import Connection
from rkllmd.net.hangup import HangupWatcher
from rkllmd.net.receiver import Receiver
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.worker import Npu
from rkllmd.service.parts import Service
from rkllmd.spared_imports import TakesLong
from rkllmd.store.store import Store
from rkllmd.wire import jsonrpc

CALLS = 20


class Turns:
    """Counts the turns that others get, and notes the count in each call of a method that takes so long."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds
        self.count = 0
        self.at_calls: list[int] = []

    async def take(self) -> None:
        """Take turns until cancelled."""
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1

    def slow(self, _service: Service, _: Invocation) -> dict[str, Any]:
        """Serve a call."""
        self.at_calls.append(self.count)
        time.sleep(self.seconds)  # not a wait for anything: it is the slow call whose neighbours must have their turn
        return {}


def make_context(turns: Turns) -> Service:
    method = Method(Kind.INSTANT, name="slow", call=turns.slow)
    token = trio.lowlevel.current_trio_token()
    unused: Any = None
    methods = {"slow": method}
    current = CurrentConfig(Config())
    npu, timeouts = Npu(Queue(Limits(1, 1, 1000))), Timeouts(current)
    return Service(current, unused, unused, unused, npu, Store(), methods, timeouts, token.run_sync_soon)


async def serve(turns: Turns, data: bytes) -> bytes:
    """Serve one client that sends ``data`` and no more; return what it gets."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    context = make_context(turns)
    with ours:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        hangups, receiver = HangupWatcher(), Receiver(lambda: True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hangups.run)
            nursery.start_soon(receiver.run)
            nursery.start_soon(turns.take)
            await Connection(theirs, context, hangups, receiver).serve()
            nursery.cancel_scope.cancel()
        assert context.npu.stop()
        return ours.recv(1 << 20)


@pytest.mark.parametrize("is_batch", [True, False], ids=["batch", "lines"])
def test_others_have_their_turn_between_the_calls_of_one_client(is_batch: bool) -> None:
    requests = [{"jsonrpc": "2.0", "id": number, "method": "slow"} for number in range(CALLS)]
    lines = [requests] if is_batch else requests
    turns = Turns()
    received = trio.run(serve, turns, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    answers = [json.loads(line) for line in received.splitlines()]
    assert [answer["id"] for answer in (answers[0] if is_batch else answers)] == list(range(CALLS))
    # (trio may give the one its next turn before the other.)
    assert len(set(turns.at_calls)) >= CALLS // 2


def test_others_have_their_turn_beside_a_client_that_asks_as_soon_as_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiver, "_BUSY_SECONDS", 60)  # it has always asked again
    turns, calls = Turns(0), 2000

    def ask(ours: socket.socket) -> None:
        for _ in range(calls):
            ours.sendall(b'{"jsonrpc":"2.0","id":1,"method":"slow"}\n')
            assert ours.recv(1 << 16)
        ours.close()

    async def converse() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        context = make_context(turns)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.take)
            nursery.start_soon(trio.to_thread.run_sync, ask, ours)
            polling = Receiver(lambda: True)
            nursery.start_soon(polling.run)
            await Connection(theirs, context, HangupWatcher(), polling).serve()
            nursery.cancel_scope.cancel()
        assert context.npu.stop()

    trio.run(converse)
    assert len(turns.at_calls) == calls
    # A call takes some ten microseconds, a turn of one client half a millisecond.
    assert len(set(turns.at_calls)) >= 10


def test_nobody_waits_for_more_than_a_few_calls_of_each_of_many_clients_that_pipeline() -> None:
    clients, turns = 40, Turns(0.001)
    asked_at: list[int] = []
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "slow", "pad": "x" * 3000}).encode() + b"\n"

    def ping(_service: Service, _: Invocation) -> dict[str, Any]:
        asked_at.append(len(turns.at_calls))
        return {}

    async def converse() -> None:
        context = make_context(turns)
        context.methods["ping"] = replace(context.methods["slow"], name="ping", call=ping)
        pairs = [socket.socketpair() for _ in range(clients + 1)]
        async with trio.open_nursery() as nursery:
            common = Receiver(lambda: True)
            nursery.start_soon(common.run)
            for ours, theirs in pairs:
                ours.setblocking(False)
                theirs.setblocking(False)
                nursery.start_soon(Connection(theirs, context, HangupWatcher(), common).serve)
            for ours, _ in pairs[1:]:
                ours.send(line * 60)
            while len(turns.at_calls) < 10 * clients:
                await trio.lowlevel.checkpoint()
            asked_at.append(len(turns.at_calls))
            pairs[0][0].send(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            while len(asked_at) < 2:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        for ours, _ in pairs:
            ours.close()
        assert context.npu.stop()

    trio.run(converse)
    sent, handled = asked_at
    assert handled - sent < 5 * clients


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
            connection._on_readable()
    assert context.npu.stop()


async def test_a_client_that_goes_before_its_call_can_be_prepared_leaves_no_descriptor() -> None:
    """A first preparation says that it takes long, and the client is gone before the second begins."""
    context = make_context(Turns())
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    receiver = Receiver(lambda: False)
    connection = Connection(theirs, context, HangupWatcher(), receiver)
    calls: list[jsonrpc.Call] = []

    def prepare(_service: Service, _client: Connection, call: jsonrpc.Call) -> None:
        calls.append(call)
        assert len(call.fds) == 1
        connection.drop("gone")
        raise TakesLong

    context.methods["slow"] = replace(context.methods["slow"], prepare=prepare)
    with ours:
        socket.send_fds(ours, [b'{"jsonrpc":"2.0","id":1,"method":"slow","fds":1}\n'], [ours.fileno()])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.run)
            await connection.serve()
            nursery.cancel_scope.cancel()
    assert [len(call.fds) for call in calls] == [0]
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
