"""What goes to a client: at once where the kernel takes it, in order, and to nobody who is gone."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest
import trio

from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.net.sender import Sender
from rkllmd.wire import jsonrpc
from rkllmd.wire.budget import Bounds, Budget, Holding
from rkllmd.wire.descriptors import Descriptors

USER = 1000


class Given:
    """A sender, its client, and what it asks for."""

    def __init__(self, config: Config, most_bytes: int = 1 << 30) -> None:
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.client.settimeout(120)
        self.writers = 0
        self.reasons: list[str] = []
        self.budget = Budget(lambda: Bounds(most_bytes, 1000), lambda user: False)
        self.unread = Holding(self.budget, USER)
        give_up = self.reasons.append
        self.sender = Sender(ours, CurrentConfig(config), self.start_writer, give_up, self.lost, self.unread)

    def start_writer(self) -> None:
        """Count how often a writer is asked for."""
        self.writers += 1

    def lost(self) -> None:
        """Note that the client is gone."""
        self.reasons.append("lost")


@pytest.fixture
def given() -> Iterator[Given]:
    made = Given(Config(outbox_bytes=1 << 20))
    yield made
    made.sender.close()
    made.client.close()


def call() -> jsonrpc.Call:
    return jsonrpc.Call(jsonrpc.Request(1, "m", [], {}), None)


def test_a_line_is_sent_at_once(given: Given) -> None:
    given.sender.send(b"line\n")
    assert given.client.recv(100) == b"line\n"
    assert (given.sender.unsent_bytes, given.writers) == (0, 0)


def test_what_is_corked_goes_in_one_piece(given: Given) -> None:
    given.sender.cork()
    given.sender.send(b"one\n")
    given.sender.send([b"two", b"\n"])
    assert given.sender.waiting_bytes == 8
    assert not given.sender.partial_sender(call(), as_notifications=False)({}), "it would overtake them"
    given.sender.uncork()
    assert given.client.recv(100) == b"one\ntwo\n"


async def test_what_the_kernel_does_not_take_is_the_writers(given: Given) -> None:
    line = b"x" * (4 << 20) + b"\n"
    given.sender.send(line)
    given.sender.send(b"behind it\n")
    assert given.writers == 1
    assert not given.sender.partial_sender(call(), as_notifications=False)({}), "it would overtake them"

    def read() -> bytes:
        got = bytearray()
        while not got.endswith(b"behind it\n"):
            got += given.client.recv(1 << 20)
        return bytes(got)

    got = []
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(given.sender.write)
            got.append(await trio.to_thread.run_sync(read))
            await given.sender.wait_until_sent(0)
    assert got == [line + b"behind it\n"]
    assert given.sender.partial_sender(call(), as_notifications=False)({"text": "now"})
    assert json.loads(given.client.recv(100))["result"] == {"text": "now"}


def test_a_client_that_does_not_read_is_given_up(given: Given) -> None:
    fd = os.memfd_create("test")
    given.sender.send(b"x" * (4 << 20))
    for _ in range(3):
        given.sender.send(b"y" * (1 << 20))
    assert given.reasons == ["slow_reader"]
    given.sender.send(b"line\n", Descriptors([fd]))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_nothing_is_sent_to_a_client_that_is_gone(given: Given) -> None:
    fd = os.memfd_create("test")
    given.sender.stop()
    given.sender.send(b"line\n", Descriptors([fd]))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert given.sender.unsent_bytes == 0


def test_nobody_is_there_any_more(given: Given) -> None:
    given.client.close()
    given.sender.send([b"line", b"\n"])
    assert given.reasons == ["lost"]


def test_a_token_of_a_call_that_is_finished_is_not_sent(given: Given) -> None:
    finished = call()
    finished.finished = True
    assert given.sender.partial_sender(finished, as_notifications=False)({"text": "late"}), "nothing to retry"
    given.sender.send(b"next\n")
    assert given.client.recv(100) == b"next\n"


async def test_what_nobody_reads_takes_of_the_users_memory() -> None:
    """The only connection with unread answers may have one of any length; the next one's finds no room."""
    first = Given(Config(outbox_bytes=8 << 20), most_bytes=4 << 20)
    first.sender.send(b"x" * (6 << 20))
    held = first.budget.held_bytes
    assert 5 << 20 < held == first.sender.unsent_bytes
    second = Given(Config(), most_bytes=4 << 20)
    second.unread = second.sender._holding = Holding(first.budget, USER)
    second.sender.send(b"y" * 60_000)
    assert second.reasons == []
    second.sender.send(b"y" * (1 << 20))
    assert (first.reasons, second.reasons) == ([], ["outboxes_full"])

    def read() -> None:
        left = 6 << 20
        while left:
            left -= len(first.client.recv(1 << 20))

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.sender.write)
            await trio.to_thread.run_sync(read)
    assert first.budget.held_bytes == 0
    for given in (first, second):
        given.sender.close()
        given.client.close()


def test_answers_that_wait_for_others_of_their_batch_count_too() -> None:
    given = Given(Config(), most_bytes=4 << 20)
    other = Holding(given.budget, USER)
    other.change(1 << 20)
    given.sender.count_beside(1 << 19)
    assert given.budget.held_bytes == (1 << 20) + (1 << 19)
    given.sender.count_beside(2 << 20)
    assert given.reasons == ["outboxes_full"]
    given.sender.count_beside(0)
    assert given.budget.held_bytes == 1 << 20
    given.sender.stop()
    given.sender.close()
    given.sender.count_beside(1 << 19)
    assert given.budget.held_bytes == 1 << 20, "what ends later is not kept"
    given.client.close()
