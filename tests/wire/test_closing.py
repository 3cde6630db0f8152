"""What a client has opened is closed, however long that takes, and nobody waits for it."""

from __future__ import annotations

import array
import os
import socket
import tempfile
import threading

import pytest

from rkllmd.wire import closing
from tests.wire.lingering import Lingering, let_go


def is_open(number: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{number}")


def in_time(work: threading.Thread) -> None:
    """Run something that must not wait for the other end."""
    work.daemon = True
    work.start()
    work.join(60)
    assert not work.is_alive()


def test_who_closes_a_connection_does_not_wait_for_its_other_end() -> None:
    with Lingering() as lingering:
        number = lingering.give()
        in_time(threading.Thread(target=closing.close, args=(number,)))
        lingering.take_all()


def test_shared_memory_is_closed_when_it_returns() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        for number in (os.memfd_create("test"), os.dup(file.fileno())):
            closing.close(number)
            assert not is_open(number)


@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1"], ids=["descriptors alone", "text before them"])
def test_a_connection_is_closed_with_what_nobody_has_received(text: bytes) -> None:
    ours, client = socket.socketpair()
    with client, Lingering() as lingering:
        number = lingering.give()
        client.sendall(text)
        client.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number]))])
        let_go(number)
        in_time(threading.Thread(target=closing.close_socket, args=(ours,)))
        lingering.take_all()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_one_that_has_been_received_is_closed_when_it_returns() -> None:
    ours, client = socket.socketpair()
    with client:
        number = ours.fileno()
        closing.close_socket(ours)
        assert not is_open(number)
        assert client.recv(1) == b""


def test_a_client_can_not_send_more_between_the_look_and_the_end() -> None:
    ours, client = socket.socketpair()
    with client:
        ours.shutdown(socket.SHUT_RD)
        with pytest.raises(BrokenPipeError):
            client.send(b"x")
        closing.close_socket(ours)


def test_what_is_closed_already_is_no_error() -> None:
    ours, client = socket.socketpair()
    client.close()
    closing.close_socket(ours)
    closing.close_socket(ours)
