"""The plain client's connection: pieces, its end, and waits that are interrupted."""

from __future__ import annotations

import socket as stdlib_socket

import pytest

from rkllmd.client import CallError, Client, ConnectionLost, Crashed, messages
from tests.client.played import FINAL, PARTIAL, Played, failure, result


def test_messages_may_come_in_any_pieces(plain: tuple[Client, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    client, daemon = plain
    monkeypatch.setattr(messages, "RECEIVE_BYTES", 3)
    daemon.send(result(1, {"text": "äöü" * 10}), result(2, 5))
    assert client.call("x") == {"text": "äöü" * 10}
    assert client.call("x") == 5


def test_a_connection_that_ends_before_the_answer(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.send(result(1, PARTIAL))
    daemon.connection.shutdown(stdlib_socket.SHUT_WR)
    stream = client.stream("x")
    assert next(stream) == PARTIAL
    with pytest.raises(Crashed, match="ended before x was answered"):
        next(stream)


def test_a_connection_that_is_reset(plain: tuple[Client, Played]) -> None:
    """The daemon closes with our request unread: the kernel says ECONNRESET."""
    client, daemon = plain
    call_id = client.send("x")
    daemon.connection.close()
    with pytest.raises(Crashed):
        client.receive(call_id)


def test_a_connection_that_is_gone_before_the_request(plain: tuple[Client, Played]) -> None:
    client, daemon = plain
    daemon.connection.close()
    with pytest.raises(ConnectionLost) as caught:
        client.call("x", reconnect=False)
    assert type(caught.value) is ConnectionLost, "it was not sent"


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
        patch.setattr(client._connection, "_socket", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            client.receive(call_id)
    daemon.send(result(call_id, FINAL))
    assert list(client.results(call_id)) == [PARTIAL, FINAL]
