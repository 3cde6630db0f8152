"""Writing log lines: at once where that is possible, never waiting for the reader, in order, none lost silently."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import termios
import threading
from collections.abc import Iterator

import pytest

from rkllmd.log.writer import LogWriter

# Longer than a test takes that passes.
PATIENCE = 30.0
F_SETPIPE_SZ = 1031


def nobody(count: int) -> None:
    """Hear of what was dropped."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    yield reader, writer
    for number in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(number)


def read_all(reader: int, log: LogWriter, writer: int) -> list[bytes]:
    """Read until the writer has written all, and is closed."""
    found: list[bytes] = []

    def read() -> None:
        while piece := os.read(reader, 65_536):
            found.append(piece)

    thread = threading.Thread(target=read)
    thread.start()
    assert log.flush(PATIENCE)
    os.close(writer)
    thread.join(PATIENCE)
    return b"".join(found).splitlines()


def test_a_line_is_there_when_it_was_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    LogWriter(writer, nobody).write(b"one\n")
    os.set_blocking(reader, False)
    assert os.read(reader, 100) == b"one\n"


def test_nobody_waits_for_a_reader_that_has_stopped_and_the_order_is_kept(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = LogWriter(writer, nobody)
    lines = [b"%06d %s" % (number, b"x" * (number % 90)) for number in range(2000)]
    for line in lines:  # forty times what the pipe takes: whoever waits here waits for ever
        log.write(line + b"\n")
    assert not log.flush(0)
    assert read_all(reader, log, writer) == lines
    assert log.dropped == 0


def test_a_line_longer_than_the_pipe_comes_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = LogWriter(writer, nobody)
    log.write(b"a" * 100_000 + b"\n")
    log.write(b"b\n")
    assert read_all(reader, log, writer) == [b"a" * 100_000, b"b"]


def test_what_exceeds_the_bound_is_counted_and_told_when_lines_flow_again(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = LogWriter(writer, lambda count: log.write(b"dropped %d\n" % count), waiting_bytes=10_000)
    for number in range(1000):
        log.write(b"%099d\n" % number)
    dropped = log.dropped
    # The pipe's page, and what may wait; some lines may be with the thread.
    assert 1000 - 40 - 100 - 50 <= dropped <= 1000 - 100
    *lines, told = read_all(reader, log, writer)
    assert told == b"dropped %d" % dropped
    assert len(lines) == 1000 - dropped
    assert lines == sorted(lines), "what is left is in its order"


def test_after_a_pause_lines_go_out_at_once_again(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = LogWriter(writer, nobody)
    for _ in range(100):
        log.write(b"x" * 99 + b"\n")
    os.set_blocking(reader, False)
    while not log.flush(0.001):
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 65_536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(reader, 65_536)
    log.write(b"here\n")
    assert os.read(reader, 100) == b"here\n"


def test_a_stream_socket_that_is_full_keeps_nobody() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log = LogWriter(theirs.fileno(), nobody, waiting_bytes=2**16)
        for _ in range(20_000):
            log.write(b"x" * 99 + b"\n")
        assert log.dropped
        ours.close()  # the journal has gone: what waits can't be written, which is no error
        assert log.flush(PATIENCE)


def test_a_terminal_that_was_stopped_keeps_nobody() -> None:
    ours, theirs = os.openpty()
    try:
        termios.tcflow(theirs, termios.TCOOFF)
        log = LogWriter(theirs, nobody)
        log.write(b"x\n")
        assert not log.flush(0.01)
        termios.tcflow(theirs, termios.TCOON)
        assert log.flush(PATIENCE)
        assert os.read(ours, 100) == b"x\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_has_gone_is_no_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    log = LogWriter(writer, nobody)
    log.write(b"x\n")
    assert log.flush(PATIENCE)


def test_many_threads_write_whole_lines(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = LogWriter(writer, nobody)

    def write(letter: bytes) -> None:
        for _ in range(200):
            log.write(letter * 80 + b"\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    found: list[list[bytes]] = []
    reading = threading.Thread(target=lambda: found.append(_until_end(reader)))
    reading.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert log.flush(PATIENCE)
    os.close(writer)
    reading.join(PATIENCE)
    assert sorted(found[0]) == sorted([b"a" * 80, b"b" * 80, b"c" * 80] * 200)


def _until_end(reader: int) -> list[bytes]:
    data = b""
    while piece := os.read(reader, 65_536):
        data += piece
    return data.splitlines()
