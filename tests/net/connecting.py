"""Connections to a daemon whose only method takes as long as a test likes."""

from __future__ import annotations

import socket
import time
from typing import Any

import trio

from rkllmd.calls.declaration import Kind, Method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.timeouts import Timeouts
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.net.connection import Connection
from rkllmd.net.hangup import HangupWatcher
from rkllmd.net.receiver import Receiver
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.worker import Npu
from rkllmd.service.parts import Service
from rkllmd.store.store import Store


class Turns:
    """Counts the turns that others get, and notes the count in each call of a method that takes this long."""

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
