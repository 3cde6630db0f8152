"""What is to be sent to a client: in order, in parts, each descriptor with its line, and nothing is left open."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.net.outbox import Outbox
from rkllmd.wire.descriptors import Descriptors
from tests.net.files import is_open


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return our end, which does not block, and the client's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(120)
    with ours, theirs:
        yield ours, theirs


def made(content: bytes) -> int:
    """Return a descriptor that is known by its content."""
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def content(fd: int) -> bytes:
    """Read and close a descriptor that came."""
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def receive(theirs: socket.socket, most: int = 1 << 20) -> tuple[bytes, list[bytes]]:
    """Return the bytes of one receive and the contents of the descriptors that came with them."""
    data, ancillary, flags, _ = theirs.recvmsg(most, socket.CMSG_SPACE(64 * 4))
    assert not flags & socket.MSG_CTRUNC
    fds = array.array("i")
    for _, _, raw in ancillary:
        fds.frombytes(raw)
    return data, [content(fd) for fd in fds]


def send_all(outbox: Outbox, ours: socket.socket) -> bool:
    """Send what the kernel takes; true if that was all."""
    try:
        while outbox:
            outbox.send(ours)
    except BlockingIOError:
        return False
    return True


def test_lines_go_in_their_order_in_one_piece(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    assert not outbox
    for line in ([b"one\n"], [b"two ", b"pieces", b"\n"], [b"", b"three\n"]):
        outbox.add(line)
    assert outbox
    assert (outbox.waiting_bytes, outbox.current_bytes, outbox.unsent_bytes) == (21, 0, 21)
    assert outbox.send(ours)
    assert not outbox
    assert outbox.unsent_bytes == 0
    assert theirs.recv(100) == b"one\ntwo pieces\nthree\n"


def test_a_line_that_the_kernel_takes_in_parts(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    line = [bytes([65 + index % 26]) * 5000 for index in range(1000)]
    outbox.add(line)
    outbox.add([b"\nlast\n"])
    total = outbox.unsent_bytes
    assert total == 5_000_006
    got = bytearray()
    while not send_all(outbox, ours):
        assert outbox
        got += theirs.recv(1 << 16)
        assert len(got) + outbox.unsent_bytes <= total
    ours.close()
    while data := theirs.recv(1 << 20):
        got += data
    assert bytes(got) == b"".join(line) + b"\nlast\n"
    assert (outbox.current_bytes, outbox.waiting_bytes) == (0, 0)


def test_what_waits_is_counted_without_what_is_being_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    outbox = Outbox()
    outbox.add([bytes(4 << 20)])
    assert not send_all(outbox, ours)
    assert outbox.waiting_bytes == 0, "it is on its way"
    assert 0 < outbox.current_bytes < 4 << 20
    outbox.add([b"behind it\n"])
    assert outbox.waiting_bytes == 10


def test_the_rest_of_a_line_goes_first(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    outbox.begin(memoryview(b"a line\n")[2:])
    outbox.add([b"next\n"])
    assert outbox.unsent_bytes == 10
    assert send_all(outbox, ours)
    assert theirs.recv(100) == b"line\nnext\n"


def test_descriptors_go_with_the_first_byte_of_their_line(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    fds = [made(b"first"), made(b"second")]
    outbox.add([b"before\n"])
    outbox.add([b"with ", b"two\n"], Descriptors(fds))
    outbox.add([b"after\n"])
    assert send_all(outbox, ours)
    assert [is_open(fd) for fd in fds] == [False, False], "the client has its own now"
    got: list[tuple[bytes, list[bytes]]] = []
    while sum(len(data) for data, _ in got) < 22:
        got.append(receive(theirs))
    assert b"".join(data for data, _ in got) == b"before\nwith two\nafter\n"
    # A receive never goes past a message that brings descriptors to what came before it, so this one begins with them.
    (index,) = [index for index, (_, contents) in enumerate(got) if contents]
    assert got[index][1] == [b"first", b"second"]
    assert b"".join(data for data, _ in got[: index + 1]).find(b"with") >= len(b"before\n")
    assert len(b"".join(data for data, _ in got[:index])) <= len(b"before\n")


def test_descriptors_are_sent_once_even_if_their_line_takes_many_sends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    outbox = Outbox()
    fd = made(b"once")
    outbox.add([b"x" * (1 << 20)] * 4, Descriptors([fd]))
    assert not send_all(outbox, ours)
    assert not is_open(fd)
    data, contents = receive(theirs, 1)
    assert (data, contents) == (b"x", [b"once"])
    size = 1
    while size < 4 << 20:
        data, contents = receive(theirs)
        assert contents == []
        size += len(data)
        send_all(outbox, ours)
    assert not outbox


def test_descriptors_wait_until_the_kernel_takes_their_line(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    fd = made(b"late")
    outbox.add([b"line\n"], Descriptors([fd]))
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            outbox.send(ours)
        assert is_open(fd)
        assert outbox.unsent_bytes == 5
    contents: list[bytes] = []
    got = b""
    while not got.endswith(b"line\n"):
        data, more = receive(theirs)
        got += data
        contents += more
        send_all(outbox, ours)
    assert contents == [b"late"]
    assert not is_open(fd)


def test_a_client_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox()
    fds = [made(b""), made(b"")]
    outbox.add([b"line\n"], Descriptors(fds[:1]))
    outbox.add([b"line\n"], Descriptors(fds[1:]))
    theirs.close()
    with pytest.raises(BrokenPipeError):
        outbox.send(ours)
    outbox.clear()
    assert [is_open(fd) for fd in fds] == [False, False]


def test_everything_is_closed_when_it_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    outbox = Outbox()
    fds = [made(b"") for _ in range(4)]
    outbox.add([bytes(4 << 20)], Descriptors(fds[:1]))
    outbox.add([b"waits\n"], Descriptors(fds[1:3]))
    outbox.add([b"waits\n"], Descriptors(fds[3:]))
    assert not send_all(outbox, ours)
    outbox.clear()
    assert [is_open(fd) for fd in fds] == [False] * 4
    assert not outbox
    assert (outbox.waiting_bytes, outbox.current_bytes, outbox.unsent_bytes) == (0, 0, 0)
    outbox.clear()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 60_000), min_size=1, max_size=5).filter(any), st.integers(0, 3)), max_size=12
    ),
    st.integers(1, 200_000),
)
def test_any_lines_arrive_whole_with_their_descriptors(lines: list[tuple[Sequence[int], int]], most: int) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(120)
    outbox = Outbox()
    begins: dict[int, list[bytes]] = {}
    expected = b""
    with ours, theirs:
        for number, (sizes, count) in enumerate(lines):
            pieces = [bytes([number]) * size for size in sizes]
            names = [b"%d.%d" % (number, index) for index in range(count)]
            if names:
                begins[len(expected)] = names
            outbox.add(pieces, Descriptors([made(name) for name in names]))
            expected += b"".join(pieces)
            assert outbox.unsent_bytes == len(expected)
        got = b""
        while len(got) < len(expected):
            send_all(outbox, ours)
            at = len(got)
            data, contents = receive(theirs, most)
            got += data
            if contents:
                # They come with the bytes that hold the first of their line, and never with later ones.
                (begin,) = [begin for begin in begins if at <= begin < len(got)]
                assert begins.pop(begin) == contents
        assert got == expected
        assert begins == {}
        assert not outbox


def test_what_waits_beside_the_longest_line_makes_it_full() -> None:
    """A client that asked for one long answer while it fell behind is not dropped for it; its stream goes on."""
    outbox = Outbox()
    outbox.add(b"a token\n")
    outbox.add([b"a long ", b"answer" * 1000])
    assert not outbox.is_full(1000)
    outbox.add(b"t" * 1000)
    assert outbox.is_full(1000)
    outbox.clear()
    outbox.add(b"t" * 600)
    outbox.add(b"t" * 600)
    assert not outbox.is_full(1000)
    outbox.add(b"t" * 600)
    assert outbox.is_full(1000), "an earlier long answer does not count for ever"
