"""What the keeper says: JSON by hand, and a log that nobody reads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import Restarting
from rkllmd.keeper import words

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(PLAIN, lambda inner: st.dictionaries(st.text(), inner)))
def test_it_is_json(value: Any) -> None:
    assert json.loads(words.quoted(value)) == value


def test_bytes_that_are_no_utf8_can_be_said() -> None:
    assert json.loads(words.quoted(os.fsdecode(b"/tmp/\xff"))) == "/tmp/\udcff"


def test_the_line_for_clients_is_an_error_of_its_kind() -> None:
    line = words.restarting("Wait.", retry_after_ms=100, end=None)
    assert line.endswith(b"\n")
    error = Restarting("Wait.", retry_after_ms=100, end=None)
    assert json.loads(line) == {"jsonrpc": "2.0", "id": None, "error": error.to_json()}


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-signal.SIGKILL, "SIGKILL"),
        (-40, "signal 40"),
    ],
)
def test_an_end_has_a_name(code: int, end: str) -> None:
    assert words.end_of(code) == end


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_log_that_nobody_reads_does_not_hold_it_up(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    words.write(writer, b"x" * 2**20)
    began = time.monotonic()
    words.write(writer, b"more")
    assert time.monotonic() - began < 60


def test_a_log_whose_reader_has_gone_is_no_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    words.write(writer, b"lost")
    os.close(writer)
    words.write(writer, b"lost")


def test_a_long_text_is_written_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    text = os.urandom(30_000)
    words.write(writer, text)
    assert os.read(reader, 65_536) == text
