"""A daemon that closes the connection instead of an answer is told as what it is."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest

from rkllmd.gateway.access_log import record
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.gateway.web.relay import RelayEndpoint
from tests.gateway.web.asking import Client

ASKED: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run"}
CANCEL: dict[str, Any] = {"jsonrpc": "2.0", "method": "$/cancelRequest"}
LINES = [(b"accept", b"application/x-ndjson")]


class Leaving(Upstream):
    """A daemon that says no more than ``words``; ``theirs`` is its end of the connection."""

    def __init__(self, words: bytes) -> None:
        super().__init__()
        ours, self.theirs = socket.socketpair()
        self.ours = Wire(ours)
        self.theirs.send(words)
        self.theirs.shutdown(socket.SHUT_WR)

    async def wire(self) -> Wire:
        """Return the connection, which is closed by who has it."""
        return self.ours


@pytest.mark.parametrize(("asked", "status"), [(ASKED, 502), ([CANCEL, ASKED], 502), (CANCEL, 204), ([CANCEL], 204)])
async def test_none_is_right_for_notifications_only(asked: Any, status: int) -> None:
    upstream = Leaving(b"")
    client = Client(RelayEndpoint(upstream), asked)
    with upstream.theirs:
        await client.ask()
    assert client.sent[0]["status"] == status


@pytest.mark.parametrize("headers", [[], LINES])
async def test_what_it_said_before_it_was_asked_is_told(headers: Any) -> None:
    for words, status in ((b'{"id":null}\n', 200), (b"", 503)):
        upstream = Leaving(words)
        upstream.theirs.close()
        client = Client(RelayEndpoint(upstream), ASKED, headers=headers)
        await client.ask()
        assert client.sent[0]["status"] == status
        if words:
            assert client.text == words.decode()
        else:
            assert orjson.loads(client.text)["error"]["code"] == "ConnectionLost"


async def test_what_could_not_be_sent_when_the_gateway_has_ended_has_not_begun() -> None:
    upstream = Leaving(b"")
    upstream.ours.cut()
    client = Client(RelayEndpoint(upstream), ASKED)
    with upstream.theirs:
        await client.ask()
    assert (client.sent[0]["status"], orjson.loads(client.text)["error"]["code"]) == (503, "ShuttingDown")


@pytest.mark.parametrize(
    ("asked", "call"),
    [
        (ASKED, "rkllm.run"),
        ([CANCEL, ASKED], "batch"),
        ({"id": 1}, None),
        ({"method": {"a": "my secret"}}, None),
        (7, None),
    ],
)
async def test_the_access_log_has_the_method_where_one_is_named(asked: Any, call: str | None) -> None:
    noted = record.begin()
    upstream = Leaving(b"{}\n")
    with upstream.theirs:
        await Client(RelayEndpoint(upstream), asked).ask()
    assert noted.call == call
