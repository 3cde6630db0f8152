"""The Python clients as people use them: mistakes in keywords, time limits, leaving early, threads, errors.

The daemon is played by the test, or is the real one.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import gc
import json
import pickle
import socket as stdlib_socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from rkllmd import client as client_module
from rkllmd.client import (
    CallError,
    CallTimeout,
    Client,
    ClientError,
    ConnectError,
    ConnectionLost,
    ConnectNotPermitted,
    DaemonNotListening,
    SocketNotFound,
    UnusableSocketPath,
    open_client,
)
from rkllmd.client.messages import MEMBERS
from rkllmd.wire import members
from rkllmd.wire.lines import LineBuffer
from tests.daemon import Daemon, until

PARTIAL = {"text": "a", "token_id": 1, "_callback_state": 0, "seq": 0}
FINAL = {"text": "", "token_id": 0, "_callback_state": 2, "seq": 1, "finish_reason": "stop"}
SECONDS = 120


class Played:
    """A daemon that answers nothing by itself."""

    def __init__(self, connection: stdlib_socket.socket) -> None:
        self.connection = connection
        self._lines = LineBuffer(1 << 30)
        self._waiting: list[Any] = []

    def answer(self, request: dict[str, Any], *results: Any) -> None:
        """Send results for a request."""
        for value in results:
            line = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value})
            self.connection.sendall(line.encode() + b"\n")

    def request(self) -> dict[str, Any]:
        """Return the next request."""
        while not self._waiting:
            data = self.connection.recv(1 << 20)
            assert data, "the client has gone"
            self._waiting += [json.loads(bytes(line)) for line in self._lines.feed(data)]
        request: dict[str, Any] = self._waiting.pop(0)
        return request


@pytest.fixture
def played(tmp_path: Path) -> Iterator[tuple[Client, Played]]:
    path = str(tmp_path / "rkllm.sock")
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with Client(path) as client:
            connection, _ = listening.accept()
            connection.settimeout(SECONDS)
            with connection:
                yield client, Played(connection)


@pytest.fixture(scope="module")
def daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    daemon = start_for_module()
    daemon.load()
    return daemon


def is_idle(daemon: Daemon) -> bool:
    with daemon.connect() as wire:
        return bool(wire.ask("server.status")["result"]["state"] == "idle")


# Keywords


def test_the_known_members_are_those_of_the_daemon() -> None:
    assert {*MEMBERS, "fds"} == members.MEMBERS


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("tiemout_ms", "did you mean 'timeout_ms'?"),
        ("reply_fd", "did you mean 'reply_fds'?"),
        ("Stream", "did you mean 'stream'?"),
        ("max_new_tokens", "goes into params"),
        ("prompt", "known are first_token_timeout_ms, priority"),
    ],
)
def test_an_unknown_keyword_is_refused_and_nothing_sent(played: tuple[Client, Played], keyword: str, said: str) -> None:
    client, daemon = played
    methods: list[Callable[..., Any]] = [client.call, client.send, client.stream]
    for method in methods:
        with pytest.raises(TypeError, match=keyword) as caught:
            method("rkllm.run", {"prompt": "Hello"}, **{keyword: 5})
        assert said in str(caught.value)
    call_id = client.send("x")
    assert daemon.request() == {"jsonrpc": "2.0", "id": call_id, "method": "x"}, "the first that comes"


async def test_trio_an_unknown_keyword_is_refused(daemon: Daemon) -> None:
    async with open_client(daemon.path) as client:
        with pytest.raises(TypeError, match="did you mean 'timeout_ms'"):
            await client.call("server.status", tiemout_ms=5)
        with pytest.raises(TypeError, match="did you mean 'session'"):
            client.stream("rkllm.run_async", {"prompt": "a"}, sesion="kitchen")  # before the first is asked for
        assert (await client.call("server.status"))["state"] == "idle"


def test_a_keyword_that_is_none_is_as_left_out(played: tuple[Client, Played]) -> None:
    client, daemon = played
    client.send("x", session=None, timeout_ms=7)
    assert daemon.request() == {"jsonrpc": "2.0", "id": 1, "method": "x", "timeout_ms": 7}


def test_paths_in_params(played: tuple[Client, Played]) -> None:
    client, daemon = played
    client.send("rkllm.init", {"model_path": Path("/models/ä.gguf"), "more": [Path("a")]})
    assert daemon.request()["params"] == {"model_path": "/models/ä.gguf", "more": ["a"]}


def test_a_model_is_loaded_by_its_path(start: Callable[..., Daemon]) -> None:
    daemon = start()
    with Client(Path(daemon.path)) as client:
        assert client.call("rkllm.init", {"model_path": daemon.model})["success"] is True


# Time limits


def test_a_call_that_takes_too_long_is_cancelled(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with pytest.raises(CallTimeout, match=r"slow was not answered within 0.05 s") as caught:
        client.call("slow", timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    slow = daemon.request()
    assert "timeout" not in slow, "it is the client's own"
    assert daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": slow["id"]}}
    daemon.answer(slow, PARTIAL, FINAL)  # its answer comes nevertheless, for nobody
    call_id = client.send("next")
    daemon.answer(daemon.request(), 5)
    assert client.receive(call_id)["result"] == 5
    assert client._received == {}
    assert client._left == set()


def test_a_stream_that_takes_too_long_is_cancelled(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(lambda: list(client.stream("slow", timeout=0.2)))
        slow = daemon.request()
        daemon.answer(slow, PARTIAL)  # in time or not, it is not the end
        with pytest.raises(CallTimeout):
            whole.result(SECONDS)
    assert daemon.request()["params"] == {"id": slow["id"]}


def test_a_daemon_that_reads_nothing_holds_no_call_with_a_limit(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with pytest.raises(CallTimeout):
        client.call("x", {"prompt": "x" * 8_000_000}, timeout=0.05)
    # Half a line is there; it swallows nothing that comes later.
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.call, "next", timeout=SECONDS)
        torn = daemon._lines
        methods: list[str] = []
        while "next" not in methods:
            for line in torn.feed(daemon.connection.recv(1 << 20)):
                with contextlib.suppress(json.JSONDecodeError):
                    request = json.loads(bytes(line))
                    methods.append(request["method"])
        daemon.answer(request, "good")
        assert answer.result(SECONDS) == "good"


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(played: tuple[Client, Played], timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        played[0].call("x", timeout=timeout)


async def test_trio_a_call_that_takes_too_long_is_cancelled(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="prefill_hold=1")
    daemon.load()
    async with open_client(daemon.path) as client:
        with pytest.raises(CallTimeout, match="was cancelled"):
            await client.call("rkllm.run", {"prompt": "Hello"}, timeout=0.05)
        daemon.let_go()
        assert (await client.call("rkllm.run", {"prompt": "Hello"}, timeout=SECONDS))["finish_reason"] == "stop"
        with pytest.raises(ValueError, match="seconds above 0"):
            await client.call("x", timeout=0)


def test_a_run_over_its_limit_is_aborted_in_the_daemon(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    with Client(daemon.path) as client, pytest.raises(CallTimeout):
        client.call("rkllm.run", {"prompt": "Hello"}, timeout=0.2)
    until("the run's end", lambda: is_idle(daemon))


# Leaving early


def _break(client: Client) -> None:
    for _ in client.stream("long"):
        break


def _raise(client: Client) -> None:
    with contextlib.suppress(KeyError):
        for _ in client.stream("long"):
            raise KeyError


def _close(client: Client) -> None:
    stream = client.stream("long")
    next(stream)
    stream.close()


def _drop(client: Client) -> None:
    stream = client.stream("long")
    next(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("leave", [_break, _raise, _close, _drop])
def test_a_stream_left_early_is_cancelled(played: tuple[Client, Played], leave: Callable[[Client], None]) -> None:
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        left = pool.submit(leave, client)
        long = daemon.request()
        daemon.answer(long, PARTIAL)
        left.result(SECONDS)
    assert daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": long["id"]}}
    daemon.answer(long, PARTIAL, {**FINAL, "finish_reason": "abort"})
    call_id = client.send("next")
    daemon.answer(daemon.request(), 5)
    assert client.receive(call_id)["result"] == 5
    assert client._received == {}, "what comes for nobody is not kept"


def test_a_stream_that_has_ended_is_not_cancelled(played: tuple[Client, Played]) -> None:
    """Also not, if its end has come but was not asked for."""
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(lambda: list(client.stream("x")))
        daemon.answer(daemon.request(), PARTIAL, FINAL)
        assert whole.result(SECONDS) == [PARTIAL, FINAL]
        stream = client.stream("y")
        first = pool.submit(next, stream)
        daemon.answer(daemon.request(), PARTIAL, FINAL)
        assert first.result(SECONDS) == PARTIAL
        other = client.send("z")
        daemon.answer(daemon.request(), 1)
        assert client.receive(other)["result"] == 1, "by now the other's end has come as well"
        stream.close()
    client.send("last")
    assert daemon.request()["method"] == "last"


def test_an_interrupted_call_is_cancelled(played: tuple[Client, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    client, daemon = played

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.call("x")
    client._reading_thread = None  # what the one that was replaced does
    assert daemon.request()["method"] == "x"
    assert daemon.request()["method"] == "$/cancelRequest"


def test_the_real_daemon_ends_a_run_that_is_left(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    with Client(daemon.path) as client:
        for partial in client.stream("rkllm.run_async", {"prompt": "Hello"}):
            assert partial["_callback_state"] == 0
            break
        daemon.wait_enter("rkllm_abort")
        until("the run's end", lambda: is_idle(daemon))
        assert client.call("server.status")["state"] == "idle"


@pytest.mark.filterwarnings("ignore:Async generator.*was garbage collected:ResourceWarning")
async def test_trio_a_stream_left_by_break_is_cancelled(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    async with open_client(daemon.path) as client:
        async for _ in client.stream("rkllm.run_async", {"prompt": "Hello"}):
            break
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(daemon.wait_enter, "rkllm_abort")
        await trio.to_thread.run_sync(until, "the run's end", lambda: is_idle(daemon))


# Threads


def test_many_threads_share_a_client(daemon: Daemon) -> None:
    """Each gets its own answers, whoever reads them; streams and tensors among them."""
    with Client(daemon.path) as client, ThreadPoolExecutor(8) as pool:

        def work(number: int) -> str:
            for _ in range(20):
                prompt = f"{number} " * 10
                texts = [partial["text"] for partial in client.stream("rkllm.run_async", {"prompt": prompt})]
                assert texts
                assert client.call("server.status", reply_fds=True)["state"] in ("idle", "running", "aborting")
                with pytest.raises(CallError, match="no method 'unknown"):
                    client.call(f"unknown{number}")
            return "".join(texts)

        assert all(pool.map(work, range(8), timeout=SECONDS))
        assert client._received == {}


def test_long_lines_of_several_threads_are_not_mixed(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x", {"prompt": str(number) * 500_000}) for number in range(4)]
        for _ in calls:
            request = daemon.request()
            prompt = request["params"]["prompt"]
            assert prompt == prompt[0] * 500_000
            daemon.answer(request, prompt[0])
        assert [call.result(SECONDS) for call in calls] == list("0123")


def test_close_wakes_the_other_threads(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x") for _ in range(4)]
        for _ in calls:
            daemon.request()
        client.close()
        for call in calls:
            with pytest.raises(ConnectionLost, match="closed"):
                call.result(SECONDS)
    client.close()
    with pytest.raises(ConnectionLost, match="make another one"):
        client.call("x")


def test_the_end_of_the_connection_wakes_all_threads(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x") for _ in range(4)]
        for _ in calls:
            daemon.request()
        daemon.connection.close()
        for call in calls:
            with pytest.raises(ConnectionLost):
                call.result(SECONDS)


def test_requests_whose_answers_nobody_reads_yet_do_not_get_stuck(daemon: Daemon) -> None:
    """The daemon reads no more from a client that does not read: 256 of these are 40 MB."""
    with Client(daemon.path) as client:
        ids = [client.send("rpc.discover") for _ in range(256)]
        assert {client.receive(call_id)["result"]["openrpc"][0] for call_id in ids} == {"1"}


def test_a_generator_that_ends_while_its_thread_sends_does_not_get_stuck(played: tuple[Client, Played]) -> None:
    """The garbage collector may come at any moment, also in the middle of a line."""
    client, daemon = played
    stream = client.stream("long")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(next, stream)
        long = daemon.request()
        daemon.answer(long, PARTIAL)
        first.result(SECONDS)
    with client._sending:
        stream.close()
    client.send("next")
    assert [daemon.request()["method"] for _ in range(2)] == ["next", "$/cancelRequest"]


def test_a_client_is_dropped_without_threads(daemon: Daemon) -> None:
    before = threading.active_count()
    with Client(daemon.path) as client:
        client.call("server.status")
    assert threading.active_count() == before


# Errors

ERRORS: list[ClientError] = [
    CallError({"code": -32602, "message": "No.", "data": {"kind": "InvalidParams", "path": "$.x"}}),
    CallError({"code": -32601, "message": "Method not found", "data": {"detail": "There is no x."}}),
    CallTimeout("rkllm.run", 2.5),
    ConnectionLost(),
    ConnectionLost("This client was closed."),
    SocketNotFound(errno.ENOENT, "No such file or directory", "/x"),
    UnusableSocketPath(errno.ENAMETOOLONG, "AF_UNIX path too long", "/x"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: ClientError) -> None:
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(made) is type(error)
        assert (str(made), made.args) == (str(error), error.args)
        for name in ("code", "kind", "data", "method", "timeout", "errno", "filename"):
            assert getattr(made, name, None) == getattr(error, name, None)


def test_an_error_crosses_from_another_process(daemon: Daemon) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(CallError) as caught:
        pool.submit(call_in_a_process, daemon.path).result(SECONDS)
    assert caught.value.kind == "MethodNotFound"


def call_in_a_process(path: str) -> None:
    with Client(path) as client:
        client.call("unknown")


def test_all_errors_have_one_base() -> None:
    exported = [getattr(client_module, name) for name in client_module.__all__]
    errors = [item for item in exported if isinstance(item, type) and issubclass(item, BaseException)]
    assert len(errors) >= 9
    assert all(issubclass(error, ClientError) for error in errors)


@pytest.mark.parametrize("make", ["missing", "nobody", "long", "nul", "file", "below"])
async def test_errors_of_connecting_are_client_errors_and_what_python_calls_them(tmp_path: Path, make: str) -> None:
    path = str(tmp_path / "rkllm.sock")
    expected: tuple[type[ConnectError], type[Exception]] = {
        "missing": (SocketNotFound, FileNotFoundError),
        "nobody": (DaemonNotListening, ConnectionRefusedError),
        "long": (UnusableSocketPath, OSError),
        "nul": (UnusableSocketPath, ValueError),
        "file": (DaemonNotListening, ConnectionRefusedError),
        "below": (UnusableSocketPath, OSError),
    }[make]
    if make == "nobody":
        with stdlib_socket.socket(stdlib_socket.AF_UNIX) as left_behind:
            left_behind.bind(path)
    elif make == "long":
        path = "/" + "x" * 200
    elif make == "nul":
        path = "/a\0b"
    elif make in ("file", "below"):
        Path(path).touch()
        path = f"{path}/x" if make == "below" else path
    with pytest.raises(ClientError) as caught:
        Client(path)
    with pytest.raises(ClientError) as caught_by_trio:
        async with open_client(path):
            pass
    for error in (caught.value, caught_by_trio.value):
        assert isinstance(error, expected[0])
        assert isinstance(error, OSError)
        assert error.filename == path
        assert isinstance(error, expected[1])
        assert path.replace("\0", "\\x00") in client_module.why_no_connection(error)


def test_who_may_not_connect_is_told_so() -> None:
    assert issubclass(ConnectNotPermitted, PermissionError)
    error = ConnectNotPermitted(errno.EACCES, "Permission denied", "/run/rkllm/rkllm.sock")
    assert "member of the group" in client_module.why_no_connection(error)
