"""The Python clients, plain and trio: against a daemon played by the test, and against the real one."""

from __future__ import annotations

import base64
import contextlib
import json
import socket as stdlib_socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import rkllmd.client
from rkllmd.client import (
    CallError,
    Client,
    ConnectionLost,
    Tensor,
    TrioClient,
    default_socket,
    is_partial,
    messages,
    open_client,
)
from rkllmd.wire.lines import LineBuffer
from tests.daemon import Daemon

PARTIAL = {"text": "a", "token_id": 1, "_callback_state": 0, "seq": 0}
WAITING = {"text": "", "token_id": 1, "_callback_state": 1, "seq": 1}
FINAL = {"text": "", "token_id": 0, "_callback_state": 2, "seq": 2, "finish_reason": "stop"}

DIGITS = Path(rkllmd.__file__).parent / "portable" / "demo" / "digits.onnx"


def result(call_id: int, value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "result": value}


def failure(call_id: int | None, kind: str = "Cancelled", **data: Any) -> dict[str, Any]:
    error = {"code": -32003, "message": "The call was cancelled.", "data": {"kind": kind, **data}}
    return {"jsonrpc": "2.0", "id": call_id, "error": error}


def encoded(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (result(1, PARTIAL), True),
        (result(1, WAITING), True),
        (result(1, FINAL), False),
        (result(1, {"_callback_state": 3}), False),
        (result(1, {"success": True}), False),
        (result(1, [0]), False),
        (result(1, None), False),
        (failure(1), False),
    ],
)
def test_what_is_a_partial(message: dict[str, Any], expected: bool) -> None:
    assert is_partial(message) is expected


def test_which_socket_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_UDS_PATH", "/run/other.sock")
    assert default_socket() == "/run/other.sock"
    monkeypatch.setenv("RKLLM_UDS_PATH", "")
    assert default_socket() == "/tmp/rkllm.sock"
    monkeypatch.delenv("RKLLM_UDS_PATH")
    assert default_socket() == "/tmp/rkllm.sock"


def test_an_error_of_the_daemon_as_an_exception() -> None:
    error = CallError({"code": -32602, "message": "Invalid.", "data": {"kind": "InvalidParams", "path": "$.x"}})
    assert (error.code, error.kind, error.data["path"], str(error)) == (-32602, "InvalidParams", "$.x", "Invalid.")
    detailed = CallError({"code": -32601, "message": "Method not found", "data": {"detail": "There is no x."}})
    assert str(detailed) == "Method not found: There is no x."
    bare = CallError({"code": 1, "message": "Something."})
    assert (bare.kind, bare.data, str(bare)) == ("", {}, "Something.")


# The plain client. The test is the daemon: what it sends before the client asks waits in the socket.


class Played:
    """The daemon's end of a plain client's connection."""

    def __init__(self, connection: stdlib_socket.socket) -> None:
        self.connection = connection
        self._lines = LineBuffer(1 << 30)

    def send(self, *messages: Any) -> None:
        """Send messages."""
        self.connection.sendall(encoded(*messages))

    def received(self) -> list[dict[str, Any]]:
        """Return the requests that have come."""
        return [json.loads(bytes(line)) for line in self._lines.feed(self.connection.recv(1 << 20))]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rkllm.sock")


@pytest.fixture
def listening(path: str) -> Iterator[stdlib_socket.socket]:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listening:
        listening.settimeout(120)
        listening.bind(path)
        listening.listen()
        yield listening


@pytest.fixture
def plain(listening: stdlib_socket.socket, path: str) -> Iterator[tuple[Client, Played]]:
    with Client(path) as client:
        client._socket.settimeout(120)
        connection, _ = listening.accept()
        connection.settimeout(120)
        with connection:
            yield client, Played(connection)


def test_a_call(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, {"text": "Hello"}), result(2, None), result(3, []))
    assert client.call("rkllm.run", {"prompt": "Hi"}, stream="final") == {"text": "Hello"}
    assert client.call("rkllm.get_constants") is None
    assert client.call("rkllm.destroy", [1]) == []
    assert daemon.received() == [
        {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run", "stream": "final", "params": {"prompt": "Hi"}},
        {"jsonrpc": "2.0", "id": 2, "method": "rkllm.get_constants"},
        {"jsonrpc": "2.0", "id": 3, "method": "rkllm.destroy", "params": [1]},
    ]


def test_a_call_skips_its_partials(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, PARTIAL), result(1, WAITING), result(1, FINAL))
    assert client.call("rkllm.run_async", {"prompt": "Hi"}) == FINAL


def test_a_stream_is_its_partials_and_its_final(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, PARTIAL), result(1, WAITING), result(1, FINAL), result(2, 5))
    assert list(client.stream("rkllm.run_async")) == [PARTIAL, WAITING, FINAL]
    assert client.call("x") == 5


def test_interleaved_ids_are_kept_apart(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    first, second, third = client.send("a"), client.send("b"), client.send("c")
    daemon.send(
        result(second, PARTIAL), result(third, 3), result(first, PARTIAL), result(second, FINAL), result(first, FINAL)
    )
    assert list(client.results(first)) == [PARTIAL, FINAL]
    assert list(client.results(second)) == [PARTIAL, FINAL]
    assert client.receive(third)["result"] == 3
    assert client._received == {}, "nothing is kept for what has ended"


def test_an_error_is_raised(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(failure(1, limit=5), result(2, PARTIAL), failure(2))
    with pytest.raises(CallError) as caught:
        client.call("x")
    assert (caught.value.kind, caught.value.data["limit"]) == ("Cancelled", 5)
    stream = client.stream("x")
    assert next(stream) == PARTIAL
    with pytest.raises(CallError):
        next(stream)


def test_messages_may_come_in_any_pieces(plain: tuple[Client, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    client, daemon = plain
    monkeypatch.setattr(messages, "RECEIVE_BYTES", 3)
    daemon.send(result(1, {"text": "äöü" * 10}), result(2, 5))
    assert client.call("x") == {"text": "äöü" * 10}
    assert client.call("x") == 5


def test_notifications_are_not_for_a_caller_and_not_kept(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    token = {"jsonrpc": "2.0", "method": "rkllm.token", "params": {"id": 1, "seq": 0, "text": "a"}}
    daemon.send(*[token] * 100, result(1, {"text": "a"}))
    assert client.call("rkllm.run", stream="notify") == {"text": "a"}
    assert client._received == {}


def test_a_connection_that_ends_before_the_answer(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, PARTIAL))
    daemon.connection.shutdown(stdlib_socket.SHUT_WR)
    stream = client.stream("x")
    assert next(stream) == PARTIAL
    with pytest.raises(ConnectionLost, match="closed the connection"):
        next(stream)


def test_a_connection_that_is_reset(plain: tuple[Client, Played]) -> None:
    """The daemon closes with our request unread: the kernel says ECONNRESET."""
    client, daemon = plain
    call_id = client.send("x")
    daemon.connection.close()
    with pytest.raises(ConnectionLost):
        client.receive(call_id)


def test_a_connection_that_is_gone_before_the_request(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.connection.close()
    with pytest.raises(ConnectionLost):
        client.call("x")


@pytest.mark.parametrize("asks_first", [True, False])
def test_why_the_daemon_closed_the_connection(plain: tuple[Client, Played], asks_first: bool) -> None:
    """An error with the id null belongs to no request, but it is what the caller has to know."""
    client, daemon = plain
    daemon.send(failure(None, "FrameTooLarge", limit=1024))
    if asks_first:
        client.send("x")
    daemon.connection.close()
    with pytest.raises(CallError) as caught:
        client.call("x")
    assert (caught.value.kind, caught.value.data["limit"]) == ("FrameTooLarge", 1024)


def test_an_interrupted_wait_loses_nothing(plain: tuple[Client, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a stream: the caller may cancel the run and go on with the connection."""
    client, daemon = plain
    call_id = client.send("x")

    class Interrupted:
        def recvmsg(self, *_: int) -> object:
            raise KeyboardInterrupt

    daemon.send(result(call_id, PARTIAL))
    with monkeypatch.context() as patch:
        patch.setattr(client, "_socket", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            client.receive(call_id)
    daemon.send(result(call_id, FINAL))
    assert list(client.results(call_id)) == [PARTIAL, FINAL]


def test_no_daemon(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        Client(path)
    stdlib_socket.socket(stdlib_socket.AF_UNIX).close()


def test_the_default_path_is_taken(listening: stdlib_socket.socket, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_UDS_PATH", path)
    client = Client()
    listening.accept()[0].close()
    client.close()


# The trio client


class TrioPlayed:
    """The daemon's end of a trio client's connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._lines = LineBuffer(1 << 30)
        self._requests: list[bytes | bytearray] = []
        self.requests: list[Any] = []

    async def send(self, *messages: Any) -> None:
        """Send messages."""
        await self.stream.send_all(encoded(*messages))

    async def line(self) -> bytes | bytearray:
        """Return the next line that has come."""
        with trio.fail_after(120):
            while not self._requests:
                self._requests += map(bytes, self._lines.feed(bytes(await self.stream.receive_some(1 << 20))))
        return self._requests.pop(0)

    async def request(self) -> Any:
        """Return the next message that has come."""
        return json.loads(await self.line())

    async def answer(self, *results: Any) -> None:
        """Answer the next request with these, the last of which is final."""
        request = await self.request()
        self.requests.append(request)
        await self.send(*[result(request["id"], value) for value in results])


@contextlib.asynccontextmanager
async def played() -> AsyncIterator[tuple[TrioClient, TrioPlayed, trio.Nursery]]:
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as daemon, trio.open_nursery() as nursery:
        client = TrioClient(stream)
        nursery.start_soon(client._receive)
        yield client, TrioPlayed(daemon), nursery
        nursery.cancel_scope.cancel()


async def test_trio_a_call() -> None:
    async with played() as (client, daemon, nursery):
        nursery.start_soon(daemon.answer, PARTIAL, FINAL)
        assert await client.call("rkllm.run_async", {"prompt": "Hi"}, stream="partial") == FINAL
    assert daemon.requests == [
        {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run_async", "stream": "partial", "params": {"prompt": "Hi"}}
    ]


async def test_trio_any_number_of_tasks_at_once() -> None:
    results: dict[int, list[Any]] = {}

    async def streams(client: TrioClient) -> None:
        found = [item async for item in client.stream("x")]
        results[found[0]["seq"]] = found

    async with played() as (client, daemon, _):
        async with trio.open_nursery() as callers:
            for _ in range(3):
                callers.start_soon(streams, client)
            ids = [(await daemon.request())["id"] for _ in range(3)]
            assert sorted(ids) == [1, 2, 3]
            for call_id in reversed(ids):
                await daemon.send(result(call_id, {**PARTIAL, "seq": call_id}))
            for call_id in ids:
                await daemon.send(result(call_id, {**FINAL, "seq": call_id}))
        assert client._waiting == {}
    assert results == {n: [{**PARTIAL, "seq": n}, {**FINAL, "seq": n}] for n in (1, 2, 3)}


async def test_trio_an_error_is_raised() -> None:
    async def refuses(daemon: TrioPlayed) -> None:
        request = await daemon.request()
        await daemon.send(failure(request["id"], limit=5))

    async with played() as (client, daemon, nursery):
        nursery.start_soon(refuses, daemon)
        with pytest.raises(CallError) as caught:
            await client.call("x")
        assert caught.value.data["limit"] == 5
        nursery.start_soon(daemon.answer, 1)
        assert await client.call("y") == 1
    assert [request["method"] for request in daemon.requests] == ["y"], "what has ended is not cancelled"


async def test_trio_a_notification() -> None:
    async with played() as (client, daemon, _):
        await client.notify("$/cancelRequest", {"id": 5})
        await client.notify("x")
        assert await daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 5}}
        assert await daemon.request() == {"jsonrpc": "2.0", "method": "x"}


async def test_trio_messages_for_nobody_are_dropped() -> None:
    async with played() as (client, daemon, nursery):
        await daemon.send(result(99, 1), {"jsonrpc": "2.0", "method": "rkllm.token", "params": {"id": 1}})
        nursery.start_soon(daemon.answer, 2)
        assert await client.call("x") == 2


async def test_trio_a_cancelled_call_is_cancelled_in_the_daemon() -> None:
    async with played() as (client, daemon, nursery):
        scope = trio.CancelScope()

        async def calls() -> None:
            with scope:
                await client.call("rkllm.run_async")

        nursery.start_soon(calls)
        request = await daemon.request()
        await daemon.send(result(request["id"], PARTIAL))
        await wait_all_tasks_blocked()
        scope.cancel()
        assert await daemon.request() == {
            "jsonrpc": "2.0",
            "method": "$/cancelRequest",
            "params": {"id": request["id"]},
        }
        # Its answer comes nevertheless, for nobody; the next call is not confused by it.
        await daemon.send(result(request["id"], {**FINAL, "finish_reason": "abort"}))
        nursery.start_soon(daemon.answer, "next")
        assert await client.call("y") == "next"


async def test_trio_a_stream_left_early_is_cancelled_in_the_daemon() -> None:
    async with played() as (client, daemon, nursery):
        nursery.start_soon(daemon.answer, PARTIAL)
        async with contextlib.aclosing(client.stream("x")) as stream:
            async for _ in stream:
                break
        assert (await daemon.request())["params"] == {"id": daemon.requests[0]["id"]}
        assert client._waiting == {}


async def test_trio_a_daemon_that_does_not_read_holds_nobody_who_leaves(autojump_clock: Any) -> None:
    """Cancelling must end even if the cancellation can't be sent: it is tried for a second."""
    async with played() as (client, _, _):
        big = "x" * 4_000_000
        begun = trio.current_time()
        with trio.move_on_after(5):
            await client.call("x", {"prompt": big})
        assert trio.current_time() - begun == pytest.approx(6)


async def test_trio_half_a_request_does_not_swallow_the_next_one() -> None:
    """A call cancelled while its request was being sent leaves half a line behind."""
    async with played() as (client, daemon, nursery):
        scope = trio.CancelScope()

        async def calls() -> None:
            with scope:
                await client.call("first", {"prompt": "x" * 4_000_000})

        nursery.start_soon(calls)
        await wait_all_tasks_blocked()
        scope.cancel()
        torn = await daemon.line()
        with pytest.raises(json.JSONDecodeError):
            json.loads(torn)
        assert (await daemon.request())["method"] == "$/cancelRequest"
        nursery.start_soon(daemon.answer, "good")
        assert await client.call("second") == "good"
    assert [request["method"] for request in daemon.requests] == ["second"]


async def test_trio_a_connection_that_ends() -> None:
    async with played() as (client, daemon, nursery):
        caught: list[type[Exception]] = []

        async def calls() -> None:
            try:
                await client.call("x")
            except ConnectionLost as error:
                caught.append(type(error))

        nursery.start_soon(calls)
        nursery.start_soon(calls)
        await daemon.request()
        await daemon.request()
        await daemon.stream.aclose()
        await wait_all_tasks_blocked()
        assert caught == [ConnectionLost, ConnectionLost]
        with pytest.raises(ConnectionLost):
            await client.call("late")


async def test_trio_sending_into_a_connection_that_is_gone() -> None:
    ours, theirs = trio.socket.socketpair()
    theirs.close()
    async with trio.SocketStream(ours) as stream, trio.open_nursery() as nursery:
        client = TrioClient(stream)
        with pytest.raises(ConnectionLost):
            await client.notify("x")
        nursery.start_soon(client._receive)
        with pytest.raises(ConnectionLost):
            await client.call("x")


async def test_trio_why_the_daemon_closed_the_connection() -> None:
    async with played() as (client, daemon, _):
        await daemon.send(failure(None, "QueueFull", limit=100))
        await daemon.stream.aclose()
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await client.call("x")
            assert caught.value.kind == "QueueFull"


async def test_trio_an_exception_in_the_body_comes_out_as_it_is(path: str) -> None:
    """An ``except CallError`` around ``async with open_client()`` must do."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(CallError):
            async with open_client(path):
                raise CallError({"code": 1, "message": "x"})
        with trio.move_on_after(120) as scope:
            async with open_client(path):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_trio_no_daemon(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        async with open_client(path):
            pass


# The real daemon


@pytest.fixture(scope="module")
def daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    daemon = start_for_module("--max-line-bytes", "100000", scenario="text=quantum computing", changing=True)
    daemon.load()
    return daemon


def test_the_real_daemon(daemon: Daemon) -> None:
    daemon.play(text="quantum computing")
    with Client(daemon.path) as client:
        assert client.call("rkllm.run", {"prompt": "Hello"})["text"] == "quantum computing"
        streamed = list(client.stream("rkllm.run_async", {"prompt": "Hello"}))
        assert "".join(item["text"] for item in streamed) == "quantum computing"
        assert streamed[-1]["finish_reason"] == "stop"
        assert client.call("rkllm.run_async", {"prompt": "Hello"}, stream="final")["text"] == "quantum computing"
        notified = client.call("rkllm.run_async", {"prompt": "Hello"}, stream="notify")
        assert (notified["_callback_state"], notified["seq"]) == (2, len(streamed) - 1)
        assert client._received == {}
        with pytest.raises(CallError) as caught:
            client.call("rkllm.rum")
        assert caught.value.kind == "MethodNotFound"
        assert "Did you mean rkllm.run?" in str(caught.value)
        assert client.call("server.status")["state"] == "idle", "and the connection goes on"


def test_the_real_daemon_says_why_it_closes(daemon: Daemon, start: Callable[..., Daemon]) -> None:
    with Client(daemon.path) as client, pytest.raises(CallError) as caught:
        client.call("rkllm.run", {"prompt": "x" * 3_000_000})
    assert (caught.value.kind, caught.value.data["limit"]) == ("FrameTooLarge", 100_000)
    small = start("--max-connections", "1")
    with Client(small.path) as first, Client(small.path) as second:
        assert first.call("server.status")["clients"] == 1
        with pytest.raises(CallError) as caught:
            second.call("server.status")
    assert caught.value.kind == "QueueFull"


async def test_trio_the_real_daemon(daemon: Daemon) -> None:
    daemon.play(text="quantum computing")
    texts: list[str] = []

    async def run(client: TrioClient, method: str) -> None:
        texts.append("".join([item["text"] async for item in client.stream(method, {"prompt": "Hello"})]))

    async with open_client(daemon.path) as client:
        async with trio.open_nursery() as nursery:
            for method in ("rkllm.run", "rkllm.run_async", "rkllm.run_async"):
                nursery.start_soon(run, client, method)
        assert (await client.call("server.queue"))["length"] == 0
        with pytest.raises(CallError):
            await client.call("rkllm.destroy", [99])
    assert texts == ["quantum computing"] * 3


async def test_trio_the_real_daemon_aborts_a_run_whose_call_is_cancelled(daemon: Daemon) -> None:
    daemon.play(text="ab", repeat=1_000_000, pace_us=1000)
    aborts = daemon.calls("rkllm_abort")
    async with open_client(daemon.path) as client:
        stream = client.stream("rkllm.run_async", {"prompt": "Hello", "max_new_tokens": 0})
        async with contextlib.aclosing(stream):
            with trio.CancelScope() as scope:
                async for partial in stream:
                    if partial["seq"] == 3:
                        scope.cancel()
        assert scope.cancelled_caught
        daemon.play(text="next")
        # It waits behind the run, so its answer shows that the run has ended.
        assert (await client.call("rkllm.run", {"prompt": "Hello"}))["text"] == "next"
    assert daemon.calls("rkllm_abort") > aborts


def test_tensors_of_all_kinds_travel_by_descriptor(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    rows = numpy.arange(48 * 48 * 3, dtype=numpy.uint8).reshape(1, 48, 48, 3)
    with Client(daemon.path) as client:
        client.call("rknn.init", {"model_path": str(DIGITS)})

        def scores(pixels: Any) -> bytes:
            result = client.call("rknn.infer", {"inputs": pixels, "want_float": numpy.bool_(True)}, reply_fds=True)
            (output,) = result["outputs"]
            assert output["shape"] == [1, 10]
            return bytes(output["data"])

        expected = scores(rows)
        flipped = rows[:, ::-1]
        assert scores(flipped) == scores(numpy.ascontiguousarray(flipped)) != expected
        assert scores(rows.tobytes()) == scores(Tensor(rows.tobytes(), "uint8", [48, 48, 3])) == expected
        with pytest.raises(TypeError):
            client.call("rknn.infer", {"inputs": object()})
    assert len(expected) == 40


async def test_trio_tensors_travel_by_descriptor(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    async with open_client(daemon.path) as client:
        await client.call("rknn.init", {"model_path": str(DIGITS)})
        pixels = numpy.zeros((48, 48, 3), numpy.uint8)
        by_descriptor = await client.call("rknn.infer", {"inputs": pixels, "want_float": True}, reply_fds=True)
        as_text = await client.call("rknn.infer", {"inputs": pixels, "want_float": True})
    assert bytes(by_descriptor["outputs"][0]["data"]) == base64.b64decode(as_text["outputs"][0]["data"])


EVENT = {"jsonrpc": "2.0", "method": "server.event", "params": {"event": "load", "state": "begin"}}


def test_events_are_given_to_who_watches(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, {"watching": ["load"]}), EVENT, result(2, 5), EVENT)
    events = client.watch("load")
    assert next(events) == EVENT["params"]
    assert client.call("x") == 5, "other calls may be made meanwhile"
    assert next(events) == EVENT["params"]
    daemon.connection.shutdown(stdlib_socket.SHUT_WR)
    with pytest.raises(ConnectionLost):
        next(events)


def test_a_watch_that_is_refused_raises_at_once(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(failure(1, "InvalidParams"))
    with pytest.raises(CallError):
        client.watch("loads")


def test_the_plain_client_watches_jobs(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with Client(daemon.path) as client:
        events = client.watch("job")
        job = client.call("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hi"}})["job"]
        assert next(events)["job"] == job
        assert client.call("server.job", {"job": job})["result"]["text"] == "abcd"
        events.close()  # type: ignore[attr-defined]  # a generator
        client.call("server.submit", {"method": "rkllm.clear_kv_cache", "params": [None, 1]})
        client.call("server.queue")
        assert not client._events, "nothing is told any more"


async def test_the_trio_client_watches_jobs(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=abcd")
    await trio.to_thread.run_sync(daemon.load)
    async with open_client(daemon.path) as client:
        async with contextlib.aclosing(client.watch("job")) as events:
            async with trio.open_nursery() as nursery:
                told: list[str] = []

                async def watch() -> None:
                    async for event in events:
                        told.append(event["job"])
                        if len(told) == 2:
                            return

                nursery.start_soon(watch)
                await wait_all_tasks_blocked()
                while not client._events:
                    await client.call("server.queue")
                await client.call("server.queue")  # the watch stands now
                inner = {"method": "rkllm.run", "params": {"prompt": "Hi"}}
                jobs = [(await client.call("server.submit", inner))["job"] for _ in range(2)]
            assert told == jobs
        assert client._events is None
        assert (await client.call("server.watch", {"events": []})) == {"watching": []}
