"""The trio client where the daemon is replaced: played over socket pairs, and the real one, killed and started anew."""

from __future__ import annotations

import contextlib
import errno
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from rkllmd.client import (
    CallError,
    ConnectionLost,
    ConnectNotPermitted,
    Crashed,
    DaemonNotListening,
    TrioClient,
    open_client,
)
from rkllmd.client.recovery import ABSENT_SECONDS
from rkllmd.client.trio_connection import TrioConnection
from tests.client.played import TrioPlayed, again, event, failure
from tests.daemon import Daemon

Start = Callable[..., Daemon]


class Place:
    """Where the played daemons are connected to, one after another."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.refusals: list[Exception] = []
        self.attempts: list[float] = []
        self.sockets: list[trio.socket.SocketType] = []
        self._send, self._receive = trio.open_memory_channel[TrioPlayed](100)

    async def connect(self) -> TrioConnection:
        """Make a connection, for the client."""
        self.attempts.append(trio.current_time())
        if self.refusals:
            raise self.refusals.pop(0)
        ours, theirs = trio.socket.socketpair()
        self.sockets += [ours, theirs]
        connection = TrioConnection(trio.SocketStream(ours))
        self.nursery.start_soon(connection.run)
        await self._send.send(TrioPlayed(trio.SocketStream(theirs)))
        return connection

    async def next(self) -> TrioPlayed:
        """Return the daemon's end of the next connection."""
        return await self._receive.receive()

    async def begin(self, **options: Any) -> tuple[TrioClient, TrioPlayed]:
        """Return a client and the daemon that it is connected with."""
        client = TrioClient(await self.connect(), self.connect, **options)
        return client, await self.next()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Place]:
    async with trio.open_nursery() as nursery:
        place = Place(nursery)
        yield place
        nursery.cancel_scope.cancel()
    for socket in place.sockets:
        socket.close()


class Calling:
    """A call in a task of its own, and what became of it."""

    def __init__(self, place: Place, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.ended = trio.Event()
        place.nursery.start_soon(self._run, call, arguments, options)

    async def _run(self, call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        try:
            self.result = await call(*arguments, **options)
        except Exception as error:
            self.error = error
        self.ended.set()


async def test_what_changes_nothing_is_asked_again() -> None:
    async with opened() as place:
        client, first = await place.begin()
        calls = [Calling(place, client.call, "server.status") for _ in range(3)]
        await first.request()
        await first.stream.aclose()
        second = await place.next()
        for _ in calls:
            await second.answer("new")
        for call in calls:
            await call.ended.wait()
            assert call.result == "new"
        assert len(place.attempts) == 2, "one connection for all of them"


async def test_what_may_have_had_an_effect_is_sent_once() -> None:
    async with opened() as place:
        client, first = await place.begin(reconnect=True)
        call = Calling(place, client.call, "rkllm.run", {"prompt": "a"})
        await first.request()
        await first.stream.aclose()
        await call.ended.wait()
        assert isinstance(call.error, Crashed)
        assert call.error.method == "rkllm.run"
        following = Calling(place, client.call, "rkllm.run", {"prompt": "b"})
        assert (await (await place.next()).answer("b"))["params"] == {"prompt": "b"}, "nothing was sent before it"
        await following.ended.wait()
        assert following.result == "b"


async def test_half_a_line_is_no_request_and_goes_to_the_next_daemon() -> None:
    async with opened() as place:
        client, first = await place.begin()
        call = Calling(place, client.call, "rkllm.run", {"prompt": "x" * 4_000_000})
        await first.stream.receive_some(1000)
        await first.stream.aclose()
        await (await place.next()).answer("whole")
        await call.ended.wait()
        assert call.result == "whole"


async def test_restarting_is_waited_for_as_long_as_it_says(autojump_clock: Any) -> None:
    async with opened() as place:
        client, keeper = await place.begin()
        call = Calling(place, client.call, "rknn.init", {"model_path": "/a.rknn"})
        await keeper.request()
        await keeper.restarting(7000)
        daemon = await place.next()
        assert place.attempts[-1] == pytest.approx(place.attempts[0] + 7)
        await daemon.answer({"context": 1})
        await call.ended.wait()
        assert call.result == {"context": 1}


async def test_restarting_for_too_long_is_told(autojump_clock: Any) -> None:
    async with opened() as place:
        client, keeper = await place.begin()
        call = Calling(place, client.call, "server.status", timeout=5)
        await keeper.request()
        await keeper.restarting(7000)
        await call.ended.wait()
        assert isinstance(call.error, CallError)
        assert call.error.kind == "Restarting"


async def test_nobody_listens_for_a_while(autojump_clock: Any) -> None:
    async with opened() as place:
        client, first = await place.begin()
        await first.stream.aclose()
        begun = trio.current_time()
        place.refusals = [DaemonNotListening(errno.ECONNREFUSED, "refused", "/x") for _ in range(5)]
        call = Calling(place, client.call, "rkllm.run", {"prompt": "a"})
        await (await place.next()).answer("new")
        await call.ended.wait()
        assert call.result == "new"
        assert 0.3 < trio.current_time() - begun < 0.8, "0, 0.05, 0.1, 0.2, 0.4 s, less up to a half by chance"


async def test_nobody_listens_any_more(autojump_clock: Any) -> None:
    async with opened() as place:
        client, first = await place.begin()
        await first.stream.aclose()
        begun = trio.current_time()
        place.refusals = [DaemonNotListening(errno.ECONNREFUSED, "refused", "/x") for _ in range(50)]
        with pytest.raises(DaemonNotListening):
            await client.call("server.status")
        assert ABSENT_SECONDS - 2 < trio.current_time() - begun < ABSENT_SECONDS


async def test_who_may_not_connect_any_more_is_told_at_once() -> None:
    async with opened() as place:
        client, first = await place.begin()
        await first.stream.aclose()
        place.refusals = [ConnectNotPermitted(errno.EACCES, "Permission denied", "/x")]
        with pytest.raises(ConnectNotPermitted):
            await client.call("server.status")


async def test_what_relies_on_what_is_gone_is_not_sent_until_the_program_knows() -> None:
    async with opened() as place:
        client, first = await place.begin()
        made = Calling(place, client.call, "rknn.init", {"model_path": "/a.rknn"})
        await first.answer({"context": 1})
        await made.ended.wait()
        await first.stream.aclose()
        status = Calling(place, client.call, "server.status")
        second = await place.next()
        await second.answer("new")
        await status.ended.wait()
        with pytest.raises(ConnectionLost, match="RKNN contexts and memories"):
            await client.call("rknn.run", {"context": 1})
        await client.reconnect()
        run = Calling(place, client.call, "rknn.run")
        assert (await second.answer(1))["method"] == "rknn.run"
        await run.ended.wait()
        assert run.result == 1


async def test_a_watcher_subscribes_again() -> None:
    async with opened() as place:
        client, first = await place.begin()
        events = client.watch("job")
        seen = Calling(place, anext, events)
        await first.answer({"watching": ["job"]})
        await first.send(event(1))
        await seen.ended.wait()
        assert seen.result["number"] == 1
        seen = Calling(place, anext, events)
        await first.stream.aclose()
        await (await place.next()).restarting(1)
        second = await place.next()
        assert (await second.answer({"watching": ["job"]}))["params"] == {"events": ["job"]}
        await seen.ended.wait()
        assert seen.result == {"event": "reconnected"}, "something may be missing here"
        await second.send(event(2))
        assert (await anext(events))["number"] == 2
        await events.aclose()
        assert (await second.request())["params"] == {"events": []}


async def test_a_watcher_that_is_to_end_with_its_connection() -> None:
    async with opened() as place:
        client, first = await place.begin(reconnect=False)
        seen = Calling(place, anext, client.watch("job"))
        await first.answer({"watching": ["job"]})
        await first.stream.aclose()
        await seen.ended.wait()
        assert isinstance(seen.error, ConnectionLost)


async def test_a_watch_that_is_refused() -> None:
    async with opened() as place:
        client, first = await place.begin()
        seen = Calling(place, anext, client.watch("jobs"))
        request = await first.request()
        await first.send(failure(request["id"], "InvalidParams"))
        await seen.ended.wait()
        assert isinstance(seen.error, CallError)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_that_was_replaced(start: Start, number: int) -> None:
    first = start(scenario="text=old")
    first.load()
    async with open_client(first.path) as client:
        assert (await client.call("rkllm.run", {"prompt": "a"}))["text"] == "old"
        first.stop(number)
        second = again(start, first, scenario="text=new")
        second.load()
        assert (await client.call("rkllm.run", {"prompt": "a"}))["text"] == "new"
        assert (await client.call("server.status"))["pid"] == second.process.pid


async def test_a_run_that_ends_with_the_daemon_has_crashed(start: Start) -> None:
    first = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    first.load(max_new_tokens=-1)
    async with open_client(first.path) as client:
        stream = client.stream("rkllm.run_async", {"prompt": "a"})
        await anext(stream)
        first.stop(signal.SIGKILL)
        with pytest.raises(Crashed):
            _ = [partial async for partial in stream]


async def test_a_client_that_was_left_is_not_connected_again(start: Start) -> None:
    daemon = start()
    async with open_client(daemon.path) as client:
        await client.call("server.status")
    with pytest.raises(ConnectionLost, match="was closed"):
        await client.call("server.status")
