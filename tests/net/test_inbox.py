"""Bytes and descriptors become calls, without a socket and without an event loop."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

import pytest
import structlog

from rkllmd.errors import InvalidParams
from rkllmd.net.inbox import Inbox, is_large, takes_long
from rkllmd.wire import jsonrpc
from tests.net.files import is_open


class Given:
    """An inbox, and what it answers by itself."""

    def __init__(self, limit: int = 1000) -> None:
        self.sent = b""
        self.exchange = jsonrpc.Exchange()
        self.inbox = Inbox(limit, self.exchange, self.reply, structlog.get_logger)

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


@pytest.mark.parametrize(("count", "words"), [(1, "could not be taken"), (16, "at most 16 file descriptors")])
def test_descriptors_that_were_cut_off(count: int, words: str) -> None:
    given, fds = Given(), made(count)
    given.bring(*fds, flags=socket.MSG_CTRUNC)
    assert given.inbox.is_over
    assert words in given.error["data"]["detail"]
    assert not any(map(is_open, fds))


def test_which_lines_take_long() -> None:
    assert (takes_long(b"{}"), takes_long(b" {}"), takes_long(b"[]"), takes_long(b"x" * 65_537)) == (0, 1, 1, 1)
    assert (is_large(b"[]"), is_large(b"x" * 65_537)) == (False, True)
