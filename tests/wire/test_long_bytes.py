"""Bytes that grow without being copied, and give back what was added."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.wire import long_bytes
from rkllmd.wire.jsonrpc import UNSOLICITED, Rejected, parse
from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import GrowingBytes, allocate, is_blank

MIB = 1 << 20


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 100))
def test_what_was_added_is_taken(pieces: list[bytes], small: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_bytes, "_SMALL", small)
        growing = GrowingBytes()
        for _ in range(2):
            for index, piece in enumerate(pieces):
                growing.add(piece)
                assert len(growing) == sum(map(len, pieces[: index + 1]))
            taken = growing.take()
            assert bytes(taken) == b"".join(pieces)
            assert len(growing) == 0
            assert isinstance(taken, bytes) == (len(taken) <= small)


def test_many_megabytes_are_a_mapping_of_their_size() -> None:
    growing = GrowingBytes()
    for number in range(5):
        growing.add(bytes([number]) * MIB)
    taken = growing.take()
    assert isinstance(taken, mmap.mmap)
    assert len(taken) == 5 * MIB
    assert [taken[number * MIB] for number in range(5)] == [0, 1, 2, 3, 4]


def test_a_mapping_may_be_looked_at_when_its_name_is_gone() -> None:
    view = memoryview(allocate(3 * MIB))
    view[-1] = 7
    assert view[-1] == 7


@pytest.mark.parametrize(("data", "blank"), [(b" \t\r", True), (b"{", False), (b"  {", False), (b"", True)])
def test_blank(data: bytes, blank: bool) -> None:
    assert is_blank(data) == blank
    if data:
        padded = allocate(MIB)
        padded[:] = b" " * (MIB - len(data)) + data
        assert is_blank(padded) == blank


def test_a_long_blank_line_is_ignored() -> None:
    lines = LineBuffer(2 * MIB)
    assert lines.feed(b" " * MIB + b"\n") == [], "one that comes whole is no line at all"
    for ending, message in ((b"\n", type(UNSOLICITED)), (b"x\n", Rejected)):
        lines.feed(b" " * MIB)
        (line,) = lines.feed(ending)
        assert isinstance(parse(line), message)
