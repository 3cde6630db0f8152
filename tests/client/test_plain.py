"""The plain client, against a daemon that the test plays."""

from __future__ import annotations

import socket as stdlib_socket

import pytest

from rkllmd.client import CallError, Client, ConnectionLost
from tests.client.played import FINAL, PARTIAL, WAITING, Played, failure, result

# The plain client. The test is the daemon: what it sends before the client asks waits in the socket.


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
    assert client._connection._received == {}, "nothing is kept for what has ended"


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


def test_notifications_are_not_for_a_caller_and_not_kept(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    token = {"jsonrpc": "2.0", "method": "rkllm.token", "params": {"id": 1, "seq": 0, "text": "a"}}
    daemon.send(*[token] * 100, result(1, {"text": "a"}))
    assert client.call("rkllm.run", stream="notify") == {"text": "a"}
    assert client._connection._received == {}


def test_no_daemon(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        Client(path)
    stdlib_socket.socket(stdlib_socket.AF_UNIX).close()


def test_the_default_path_is_taken(listening: stdlib_socket.socket, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_UDS_PATH", path)
    client = Client()
    listening.accept()[0].close()
    client.close()


# The real daemon

EVENT = {"jsonrpc": "2.0", "method": "server.event", "params": {"event": "load", "state": "begin"}}


def test_events_are_given_to_who_watches(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, {"watching": ["load"]}), EVENT, result(2, 5), EVENT)
    events = client.watch("load", reconnect=False)
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
