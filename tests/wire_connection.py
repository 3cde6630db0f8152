"""A raw connection to a daemon, and what its messages say."""

from __future__ import annotations

import json
import socket
from typing import Any, Self

# How long to wait for an answer: as for all that must come (tests/daemon.py).
ANSWER_SECONDS = 300


class Wire:
    """A raw connection: sends lines, reads messages; the protocol's shapes are left to the test."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect(path)
        self._rest = b""
        self._lines: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(self, method: str, params: Any = None, call_id: Any = 1, **members: Any) -> None:
        """Send a request."""
        message = {"jsonrpc": "2.0", "id": call_id, "method": method, **members}
        if params is not None:
            message["params"] = params
        self.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> Any:
        """Return the next message; None at the end of file, and where the daemon closed upon unread requests."""
        while not self._lines:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not data:
                return None
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return json.loads(self._lines.pop(0))

    def receive_all(self) -> list[Any]:
        """Return the messages up to the end of file."""
        return list(iter(self.receive, None))

    def ask(self, method: str, params: Any = None, call_id: Any = 1, **members: Any) -> dict[str, Any]:
        """Send a request and return the final message with its id; other messages are skipped."""
        self.request(method, params, call_id, **members)
        return self.final(call_id)

    def final(self, call_id: Any) -> dict[str, Any]:
        """Return the final message with this id."""
        return self.until_final(call_id)[-1]

    def until_final(self, call_id: Any) -> list[dict[str, Any]]:
        """Return the messages with this id up to its final one; messages of other ids are skipped."""
        messages = []
        while True:
            message = self.receive()
            assert message is not None, "the daemon closed the connection"
            if not isinstance(message, dict) or message.get("id") != call_id:
                continue
            messages.append(message)
            result = message.get("result")
            if not (isinstance(result, dict) and result.get("_callback_state") in (0, 1)):
                return messages

    def half_close(self) -> None:
        """Shut the sending side, as ``nc -N`` does."""
        self.socket.shutdown(socket.SHUT_WR)


def kind(message: dict[str, Any]) -> str | None:
    """Return the kind of a message's error; None for a result."""
    return str(message["error"]["data"]["kind"]) if "error" in message else None


def streamed(messages: list[dict[str, Any]]) -> str:
    """Return the text of one request's messages, after checking what every stream keeps."""
    results = [message["result"] for message in messages]
    states = [result["_callback_state"] for result in results]
    assert all(state in (0, 1) for state in states[:-1]), f"only the last is final: {states}"
    assert states[-1] == 2, f"the last is final: {states}"
    assert [result["seq"] for result in results] == list(range(len(results))), "seq counts from 0 without a gap"
    assert len({message["id"] for message in messages}) == 1, "all carry the id of one request"
    return "".join(result["text"] for result in results)
