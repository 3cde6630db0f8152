"""How what a client sends is handled: nobody else waits long for it, and nothing that came with it is left."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

import pytest
import trio

from rkllmd.calls.invocation import Invocation
from rkllmd.net import receiver
from rkllmd.net.connection import Connection
from rkllmd.net.hangup import HangupWatcher
from rkllmd.net.receiver import Receiver
from rkllmd.service.parts import Service
from rkllmd.spared_imports import TakesLong
from rkllmd.wire import jsonrpc
from tests.net.connecting import Turns, make_context, serve

CALLS = 20


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
