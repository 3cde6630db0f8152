"""Descriptors that are refused: in which words, and what becomes of the connection."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.server.descriptors.tensors import (
    ALL_SEALS,
    F_ADD_SEALS,
    LOST,
    MOST,
    MOST_WAITING,
    SHRINK,
    SIZE,
    WRITE,
    FdWire,
    closing,
    in_base64,
    line,
    memfd,
    output,
    picture,
    refused,
    reopened,
    settle,
)
from tests.wire_connection import kind


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: os.open("/tmp", os.O_RDONLY), "is neither a memfd nor a dma-buf"),
        (lambda: os.open("/dev/zero", os.O_RDWR), "is neither a memfd nor a dma-buf"),
        (lambda: os.eventfd(0), "is neither a memfd nor a dma-buf"),
        (lambda: os.open(__file__, os.O_RDONLY), "is neither a memfd nor a dma-buf: a file on a disk can be cut short"),
        (lambda: memfd(picture(1), seals=0), "is not sealed against shrinking (F_SEAL_SHRINK)"),
        (lambda: memfd(picture(1), seals=WRITE), "is not sealed against shrinking (F_SEAL_SHRINK)"),
        (lambda: memfd(size=1 << 40), "can't be mapped for reading and writing"),
    ],
    ids=["directory", "device", "eventfd", "file", "unsealed", "sealed otherwise", "1 TiB"],
)
def test_what_could_not_be_mapped_without_danger_is_refused(serve: Any, make: Callable[[], int], why: str) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(make()) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert f"$.inputs: the file descriptor {why}" in refused(answer)
        assert "result" in wire.ask("server.queue"), "it was declared and has come: the connection lives"


def test_a_huge_page_file_is_refused(serve: Any) -> None:
    """A hole in it may be impossible to fill (SIGBUS), and holes can be made in spite of F_SEAL_SHRINK."""
    daemon, context = serve()
    with FdWire(daemon.path) as wire:
        try:
            fd = os.memfd_create("huge", os.MFD_HUGETLB | os.MFD_ALLOW_SEALING)
        except OSError:
            pytest.skip("this kernel has no huge pages")
        with closing(fd) as fds:
            os.ftruncate(fd, 2 << 20)
            fcntl.fcntl(fd, F_ADD_SEALS, SHRINK)
            answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert "is made of huge pages" in refused(answer)


@pytest.mark.parametrize("seals", [SHRINK, SHRINK | WRITE, ALL_SEALS])
@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY])
def test_more_seals_and_reading_only_are_welcome(serve: Any, seals: int, flags: int) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(reopened(memfd(picture(3), seals=seals), flags)) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert output(answer) == in_base64(picture(3))
        answer = wire.call("rknn.create_mem_from_fd", {"ctx": context, "fd": {"fd": 0}, "size": SIZE}, fds)
        assert (kind(answer) is None) == (flags == os.O_RDWR and not seals & WRITE), "that one is shared, both ways"


@pytest.mark.parametrize("count", [-1, MOST + 1, True, "1", 1.5, None, [1], 2**63])
def test_the_member_fds_is_a_small_number(serve: Any, count: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        wire.send(line("server.queue", fds=count))
        assert refused(wire.final(1)) == f'The member "fds" must be a number from 0 to {MOST}.'
        assert "result" in wire.ask("server.queue"), "none came: the connection lives"


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_fewer_than_declared(serve: Any, sent: int) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(1)) for _ in range(sent))) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=3), fds)
        assert refused(wire.receive()) == f"The request declares 3 file descriptors, but {sent} came with it."
        if sent:  # whose are they?
            assert LOST in refused(wire.receive())
            assert wire.receive() is None
        else:
            assert "result" in wire.ask("server.queue")
    settle(daemon, files)


def test_undeclared_ones_end_the_connection_when_all_is_answered(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="hold.rknn_run=1")
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(5))) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id="slow"), fds)
            daemon.wait_enter("rknn_run")
            wire.send_fds(line("server.queue", call_id="no fds"), fds)
        messages = [wire.receive(), wire.receive()]
        daemon.let_go()
        messages += wire.receive_all()
    assert [message["id"] for message in messages] == ["no fds", None, "slow"], "then it is closed"
    assert messages[1]["error"]["code"] == -32600
    assert refused(messages[1]) == f"File descriptors came that no message declares in its member fds. {LOST}"
    assert output(messages[2]) == in_base64(picture(5))
    settle(daemon, files)


def test_nothing_is_taken_any_more_after_undeclared_ones(serve: Any) -> None:
    daemon, _ = serve()
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(5))) as fds:
            wire.send_fds(line("server.queue", call_id=1), fds)
            with contextlib.suppress(BrokenPipeError):
                wire.send_fds(line("server.queue", fds=1, call_id=2), fds)
        assert [message["id"] for message in wire.receive_all()] == [1, None]


@pytest.mark.parametrize("count", [MOST + 1, 100, 253])
def test_too_many_in_one_message_are_fatal(serve: Any, count: int) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1))) as fds:
            request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1)
            wire.send_fds(request, fds * count)
        first, second = wire.receive_all()
    limit = f"A message may bring at most {MOST} file descriptors, and at most {MOST_WAITING} may wait. {LOST}"
    assert (first["id"], refused(first)) == (None, limit)
    assert (first["error"]["code"], first["error"]["data"]["limit"]) == (-32600, MOST)
    assert refused(second) == "The request declares 1 file descriptors, but 0 came with it."
    settle(daemon, files)


def test_the_most_that_a_message_may_bring(serve: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(*(memfd(picture(number)) for number in range(MOST))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": MOST - 1}}, fds)
        assert output(answer) == in_base64(picture(MOST - 1))


def test_too_many_that_wait_are_fatal(serve: Any) -> None:
    daemon, _ = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            for _ in range(MOST_WAITING // MOST):
                wire.send_fds(b" ", fds)
            with contextlib.suppress(BrokenPipeError):
                wire.send_fds(b" ", fds)
        assert [LOST in refused(message) for message in wire.receive_all()] == [True]
    settle(daemon, files)


@pytest.mark.parametrize(
    "text", [b'{"jsonrpc":', b'{"jsonrpc":"2.0","method":1,"fds":1}', b'{"result":1,"id":1,"fds":1}']
)
def test_descriptors_of_a_message_that_can_t_be_read_end_the_connection(serve: Any, text: bytes) -> None:
    daemon, _ = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1))) as fds:
            wire.send_fds(text + b"\n", fds)
        *_, last = wire.receive_all()
    assert refused(last) == (f"File descriptors came, but a message that may have declared them can't be read. {LOST}")
    settle(daemon, files)
