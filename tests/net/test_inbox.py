"""Bytes and descriptors become calls, without a socket and without an event loop."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import weakref
from typing import Any

import pytest
import structlog
import trio

from rkllmd.errors import InvalidParams
from rkllmd.net.inbox import Inbox, is_large, takes_long
from rkllmd.wire import jsonrpc
from rkllmd.wire.budget import Bounds, Budget, Holding
from tests.net.files import is_open

USER = 1000


class Given:
    """An inbox, and what it answers by itself."""

    def __init__(self, limit: int = 1000, most_bytes: int = 1 << 30) -> None:
        self.sent = b""
        self.exchange = jsonrpc.Exchange()
        self.budget = Budget(lambda: Bounds(most_bytes, 10_000), lambda user: False)
        self.inbox = Inbox(limit, self.exchange, self.reply, structlog.get_logger, self.budget, USER)

    def reply(self, line: jsonrpc.Line) -> None:
        """Take what the inbox answers."""
        self.sent += line if isinstance(line, bytes) else b"".join(line)

    def calls(self) -> list[jsonrpc.Call]:
        """Return the calls of all lines that have come."""
        calls = []
        while self.inbox.lines:
            calls += self.inbox.next_calls()
        return calls

    def bring(self, *fds: int, flags: int = 0) -> None:
        """Let descriptors come."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
        self.inbox.take_descriptors([rights], flags)

    @property
    def error(self) -> Any:
        """Return the error that was sent."""
        return json.loads(self.sent)["error"]


def request(call_id: int, **members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "method": "m", **members}).encode() + b"\n"


def made(count: int) -> list[int]:
    return [os.memfd_create("test") for _ in range(count)]


def test_requests_in_any_pieces() -> None:
    given = Given()
    stream = request(1) + request(2) + request(3)
    calls = []
    for index in range(len(stream)):
        given.inbox.feed(stream[index : index + 1])
        calls += given.calls()
    assert [call.id for call in calls] == [1, 2, 3]
    assert (given.sent, given.inbox.is_over, given.exchange.open_calls) == (b"", False, 3)


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_last_line_without_its_end_counts_unless_the_daemon_has_cut_it(is_cut: bool) -> None:
    given = Given()
    given.inbox.feed(request(1)[:-1])
    assert given.calls() == []
    given.inbox.end(is_cut=is_cut)
    assert given.inbox.is_over
    assert [call.id for call in given.calls()] == ([] if is_cut else [1])


def test_what_is_no_request_is_answered_in_its_place() -> None:
    given = Given()
    given.inbox.feed(b"{no\n" + request(1))
    assert [call.id for call in given.calls()] == [1]
    assert given.error["data"]["kind"] == "ParseError"


def test_a_line_that_is_too_long_is_told_behind_the_lines_before_it() -> None:
    given = Given(limit=100)
    given.inbox.feed(request(1) + b"x" * 101)
    assert given.inbox.is_over
    assert [call.id for call in given.calls()] == [1]
    assert given.sent == b""
    given.inbox.check_length()
    assert given.error["data"]["kind"] == "FrameTooLarge"


def test_another_protocol_is_answered_once_and_nothing_of_it_is_a_request() -> None:
    given = Given()
    given.inbox.feed(b"POST / HTTP/1.1\r\n" + request(1))
    assert given.calls() == []
    assert (given.inbox.is_over, given.inbox.was_foreign) == (True, True)
    assert given.sent.startswith(b"HTTP/1.1 400")
    given = Given()
    given.inbox.feed(b"\x16\x03\x01")
    assert given.inbox.was_foreign
    assert "TLS" in given.error["data"]["detail"] + given.error["message"]


def test_a_call_gets_the_descriptors_that_it_declares() -> None:
    given, fds = Given(), made(3)
    given.bring(*fds)
    given.inbox.feed(request(1, fds=1) + request(2) + request(3, fds=2))
    calls = given.calls()
    for call in calls:
        given.inbox.give_descriptors(call)
    assert [[*call.fds] for call in calls] == [fds[:1], [], fds[1:]]
    given.inbox.check_descriptors()
    given.inbox.close()
    assert all(map(is_open, fds)), "they are the calls'"
    for call in calls:
        call.fds.close()
    assert not any(map(is_open, fds))


def test_a_call_that_declares_more_than_came() -> None:
    given, (fd,) = Given(), made(1)
    given.bring(fd)
    given.inbox.feed(request(1, fds=2))
    (call,) = given.calls()
    with pytest.raises(InvalidParams, match="declares 2 file descriptors, but 1 came"):
        given.inbox.give_descriptors(call)
    given.inbox.close()
    assert not is_open(fd)


def test_descriptors_that_nobody_declares_end_the_connection() -> None:
    given, fds = Given(), made(2)
    given.bring(*fds)
    given.inbox.feed(request(1)[:5])
    given.inbox.check_descriptors()
    assert given.sent == b"", "the line that declares them may be on its way"
    given.inbox.feed(request(1)[5:])
    given.calls()
    given.inbox.check_descriptors()
    assert given.inbox.is_over
    assert given.error["data"]["detail"].startswith("File descriptors came that no message declares")
    assert not any(map(is_open, fds))
    given.inbox.check_descriptors()
    assert given.sent.count(b"\n") == 1


def test_descriptors_and_a_message_that_can_not_be_read() -> None:
    given, fds = Given(), made(1)
    given.bring(*fds)
    given.inbox.feed(b"{no\n")
    assert given.calls() == []
    assert given.inbox.is_over
    assert b"may have declared them can't be read" in given.sent
    assert not is_open(fds[0])


@pytest.mark.parametrize(
    ("count", "flags", "words"),
    [
        (1, socket.MSG_CTRUNC, "could not be taken"),
        (16, socket.MSG_CTRUNC, "could not be taken"),
        (17, 0, "at most 16 file descriptors"),
    ],
)
def test_descriptors_that_were_cut_off_or_too_many(count: int, flags: int, words: str) -> None:
    given, fds = Given(), made(count)
    given.bring(*fds, flags=flags)
    assert given.inbox.is_over
    assert words in given.error["data"]["detail"]
    assert not any(map(is_open, fds))


def test_which_lines_take_long() -> None:
    assert (takes_long(b"{}"), takes_long(b" {}"), takes_long(b"[]"), takes_long(b"x" * 65_537)) == (0, 1, 1, 1)
    assert (is_large(b"[]"), is_large(b"x" * 65_537)) == (False, True)


def long_request(call_id: int, size: int) -> bytes:
    return request(call_id, params={"text": "x" * size})


def test_a_line_for_which_there_is_no_room_is_skipped_and_the_connection_goes_on() -> None:
    given = Given(limit=1 << 20, most_bytes=1 << 19)
    line = long_request(7, 600_000)
    for start in range(0, len(line), 65_536):
        given.inbox.feed(line[start : start + 65_536])
    assert given.error["data"] == {"kind": "FrameTooLarge", "limit": 1 << 18}
    assert json.loads(given.sent)["id"] == 7
    given.inbox.feed(request(8))
    assert [call.id for call in given.calls()] == [8]
    assert (given.inbox.is_over, given.budget.held_bytes, given.sent.count(b"\n")) == (False, 0, 1)


def test_what_others_of_the_user_hold_leaves_less_room() -> None:
    given = Given(limit=1 << 20, most_bytes=1 << 20)
    other = Holding(given.budget, USER)
    other.change(450_000)
    line = long_request(7, 100_000)
    given.inbox.feed(line[:65_000])
    assert given.sent == b"", "it is not long yet"
    given.inbox.feed(line[65_000:80_000])
    assert given.error["data"]["kind"] == "QueueFull"
    given.inbox.feed(line[80_000:])
    other.release()
    given.inbox.feed(line)
    assert [call.id for call in given.calls()] == [7]


def test_a_long_line_is_held_until_its_call_is_answered() -> None:
    given = Given(limit=1 << 20)
    line = long_request(7, 200_000)
    given.inbox.feed(line[:150_000])
    assert given.budget.held_bytes == 150_000
    given.inbox.feed(line[150_000:])
    message = given.inbox.parse_next()
    (call,) = given.inbox.calls_of(message, None)
    assert 2 * len(line) <= given.budget.held_bytes < 3 * len(line), "the text, and a copy for C"
    assert call.holding is not None
    kept = call.holding.share()
    given.inbox.let_go(call)
    given.inbox.close()
    assert given.budget.held_bytes, "a job goes on with it"
    kept.release()
    assert given.budget.held_bytes == 0


def test_what_is_not_answered_is_let_go_when_the_client_has_gone() -> None:
    given = Given(limit=1 << 20)
    given.inbox.feed(b"[" + b",".join(long_request(number, 3000)[:-1] for number in range(3)) + b"]\n")
    assert len(given.calls()) == 3
    given.inbox.feed(long_request(7, 200_000)[:150_000])
    assert given.budget.held_bytes > 150_000
    given.inbox.close()
    assert given.budget.held_bytes == 0


@pytest.mark.parametrize(
    ("params", "kind", "call_id"),
    [
        (b"[" + b"[]," * 3000 + b"[]]", "FrameTooLarge", 7),
        (b"[" * 129 + b"]" * 129, "ParseError", 7),
        (b"[" * 3000 + b"]" * 3000, "ParseError", None),
    ],
)
def test_what_is_too_much_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, params: bytes, kind: str, call_id: int | None
) -> None:
    monkeypatch.setattr(jsonrpc, "parse", None)
    given = Given(limit=1 << 20)
    given.inbox.feed(b'{"jsonrpc":"2.0","id":7,"method":"m","params":%b}\n' % params)
    assert given.calls() == []
    assert given.error["data"]["kind"] == kind
    assert given.error["data"]["limit"] in (128, 2500)
    assert json.loads(given.sent)["id"] == call_id
    assert given.budget.held_bytes == 0


async def test_a_line_that_was_refused_on_a_helper_thread_is_gone_at_once() -> None:
    """And not only when the garbage collector comes: fifteen lines of 16 MiB had waited for it."""
    given = Given(limit=1 << 20)
    line = request(7, params=[[]] * 40_000)
    for piece in (line[:70_000], line[70_000:]):
        given.inbox.feed(piece)
    held: weakref.ref[Any] = weakref.ref(given.inbox.lines[0])
    gc.disable()
    try:
        message = await trio.to_thread.run_sync(given.inbox.parse_next)
        assert given.inbox.calls_of(message, None) == []
        del message
        assert held() is None
    finally:
        gc.enable()
    assert given.error["data"]["kind"] == "FrameTooLarge"
