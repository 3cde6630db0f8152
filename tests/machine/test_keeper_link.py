"""What the daemon and its keeper say to each other, over a socketpair of the test's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import trio

from rkllmd.keeper import socket_file, ties
from rkllmd.keeper.ties import Ties
from rkllmd.machine import keeper_link
from rkllmd.machine.keeper_link import KeeperLink


class Keeper:
    """The keeper's end, and the daemon's link to it."""

    def __init__(self, keeper: int, place: str = "", listening: int = -1, lock: int = -1) -> None:
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.setblocking(False)
        self.link = KeeperLink(Ties(keeper, theirs.detach(), -1, -1, -1, -1, listening, lock, -1, place=place))

    def close(self) -> None:
        """Close both."""
        self.end.close()
        self.link._control.close()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper(os.getppid())
    yield keeper
    keeper.close()


def test_the_keeper_is_the_parent_as_long_as_it_lives(keeper: Keeper) -> None:
    assert keeper.link.pid == os.getppid()
    assert keeper.link.is_alive
    other = Keeper(os.getpid())
    assert not other.link.is_alive
    other.close()


def test_a_word_is_one_message_and_may_be_no_utf8(keeper: Keeper) -> None:
    keeper.link.tell("X_SETTLED")
    keeper.link.tell("X_ENDS_WITH", "caf\udce9")
    assert [keeper.end.recv(100) for _ in range(2)] == [b"X_SETTLED=1", b"X_ENDS_WITH=caf\xe9"]


def test_a_keeper_that_has_gone_is_told_nothing(keeper: Keeper) -> None:
    keeper.end.close()
    keeper.link.tell("X_SETTLED")
    with socket.socket() as listening:
        keeper.link.hand_over(listening, listening.fileno(), "/s", (1, 2))


def test_a_socket_that_listens_goes_with_its_lock_and_its_place(keeper: Keeper) -> None:
    with socket.socket() as listening:
        keeper.link.hand_over(listening, listening.fileno(), "/run/a.sock", (1, 2))
        message, fds, _, _ = socket.recv_fds(keeper.end, 1000, 4)
        assert message.decode() == f"{ties.SOCKET}={socket_file.describe('/run/a.sock', (1, 2))}"
        assert {os.fstat(fd).st_ino for fd in fds} == {os.fstat(listening.fileno()).st_ino}
        assert len(fds) == 2
        for fd in fds:
            os.close(fd)


def test_the_socket_of_an_earlier_daemon_is_taken_over() -> None:
    nothing = Keeper(1)
    assert nothing.link.listening() is None
    nothing.close()
    bound = socket.socket(socket.AF_UNIX)
    keeper = Keeper(1, place=socket_file.describe("/run/a.sock", (1, 2)), listening=bound.detach(), lock=99)
    taken = keeper.link.listening()
    assert taken is not None
    found, path, lock, inode = taken
    assert (found.fileno() >= 0, path, lock, inode) == (True, "/run/a.sock", 99, (1, 2))
    found.close()
    keeper.close()


@pytest.mark.parametrize("words", [[ties.LISTENING], [b"other", ties.LISTENING], []], ids=["at once", "later", "gone"])
def test_it_waits_until_the_keeper_has_the_socket_or_is_gone(keeper: Keeper, words: list[bytes]) -> None:
    for word in words:
        keeper.end.send(word)
    if not words:
        keeper.end.close()
    keeper.link.wait_until_it_listens()
    assert not keeper.link._control.getblocking()


async def test_the_keepers_words_are_given_until_it_goes(keeper: Keeper) -> None:
    keeper.end.send(ties.STOP)
    keeper.end.send(ties.HURRY)
    keeper.end.close()
    with trio.fail_after(60):
        heard = [word async for word in keeper.link.words()]
    assert heard == [ties.STOP, ties.HURRY]


def test_without_a_keeper_there_is_none() -> None:
    assert keeper_link.find({}) is None
