"""A small server around the real parts, as the connection is one: what comes in is bytes, what goes out is bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rkllmd.errors import InvalidParams, MethodNotFound
from rkllmd.wire.jsonrpc import Call, Exchange, Line, parse
from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import LongBytes

MIB = 2**20


def subtract(params: Any) -> Any:
    if isinstance(params, dict):
        return params["minuend"] - params["subtrahend"]
    return params[0] - params[1]


METHODS: dict[str, Callable[[Any], Any]] = {
    "subtract": subtract,
    "sum": sum,
    "update": lambda params: None,
    "notify_hello": lambda params: None,
    "notify_sum": lambda params: None,
    "get_data": lambda params: ["hello", 5],
}


def whole(line: Line) -> bytes:
    """Return a line in one piece."""
    return b"".join(line) if isinstance(line, list) else line


class Server:
    """Answers at once, or keeps the calls for the test to answer."""

    def __init__(self, *, limit: int = 16 * MIB, at_once: bool = True) -> None:
        self.lines = LineBuffer(limit)
        self.exchange = Exchange()
        self.calls: list[Call] = []
        self.made: list[Call] = []
        self.sent = b""
        self._at_once = at_once

    def receive(self, data: bytes) -> None:
        """Take a piece of the stream."""
        self._handle(self.lines.feed(data))

    def end(self) -> None:
        """Take the end of the stream."""
        self._handle(self.lines.end())

    def _handle(self, lines: list[LongBytes]) -> None:
        for line in lines:
            calls, reply = self.exchange.receive(parse(line))
            self.sent += whole(reply)
            self.calls += calls
            self.made += calls
            while self._at_once and self.calls:
                self.answer(self.calls[0])

    def answer(self, call: Call) -> None:
        """Do what ``call`` asks for and answer it."""
        self.calls.remove(call)
        function = METHODS.get(call.method)
        if function is None:
            self.sent += whole(self.exchange.fail(call, MethodNotFound(f"There is no method {call.method}.")))
            return
        try:
            self.sent += whole(self.exchange.finish(call, function(call.params)))
        except (TypeError, LookupError) as error:
            self.sent += whole(self.exchange.fail(call, InvalidParams(str(error)[:100])))

    def take(self) -> list[Any]:
        """Return the messages sent so far, and forget them."""
        sent, self.sent = self.sent, b""
        assert sent == b"" or sent.endswith(b"\n"), "every message is a whole line"
        return [json.loads(line) for line in sent.splitlines()]


def served(*pieces: bytes) -> list[Any]:
    server = Server()
    for piece in pieces:
        server.receive(piece)
    server.end()
    assert server.exchange.open_calls == 0
    return server.take()


def plain(answer: Any) -> Any:
    """Return an answer without ``data``, which the specification leaves to the server."""
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    if "error" in answer:
        return {**answer, "error": {name: value for name, value in answer["error"].items() if name != "data"}}
    return answer


def multiset(answers: Any) -> Any:
    """Return something equal for equal answers, where the order of a batch's answers does not matter."""
    if isinstance(answers, list):
        return sorted(json.dumps(item, sort_keys=True) for item in answers)
    return json.dumps(answers, sort_keys=True)


def error(code: int, message: str, call_id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": call_id}


def kind(answer: dict[str, Any]) -> str:
    return str(answer["error"]["data"]["kind"])


PARSE_ERROR = error(-32700, "Parse error")
INVALID = error(-32600, "Invalid Request")


def ask(line: str | bytes) -> list[Any]:
    """Send one line to a fresh server and then a good request; return what came back before that one's answer."""
    raw = line.encode() if isinstance(line, str) else line
    *answers, last = served(raw + b"\n", b'{"jsonrpc":"2.0","method":"get_data","id":"after"}\n')
    assert last == {"jsonrpc": "2.0", "result": ["hello", 5], "id": "after"}, "the connection has recovered"
    return answers


def one(line: str | bytes) -> Any:
    (answer,) = ask(line)
    return answer
