"""A byte stream cut into lines, wherever it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import LongBytes


@pytest.mark.parametrize("piece", [1, 7, 64, 65, 1000])
def test_an_endless_line_is_not_kept(piece: int) -> None:
    lines = LineBuffer(64)
    for _ in range(1000 // piece):
        assert lines.feed(b"x" * piece) == []
        assert len(lines) <= 64
    assert lines.overflowed
    assert len(lines) == 0
    assert lines.end() == []


def test_a_line_of_the_limit_without_its_newline_is_no_overflow() -> None:
    lines = LineBuffer(4)
    assert lines.feed(b"abcd") == []
    assert not lines.overflowed
    assert len(lines) == 4
    assert lines.feed(b"\nab") == [b"abcd"]
    assert lines.end() == [b"ab"]
    assert lines.end() == []


@settings(deadline=None)
@given(st.binary(max_size=300).map(lambda data: data.replace(b"x", b"\n")), st.integers(0, 40), st.data())
def test_splitting_never_changes_the_lines(stream: bytes, limit: int, data: st.DataObject) -> None:
    def cut(pieces: list[bytes]) -> tuple[list[LongBytes], bool]:
        lines = LineBuffer(limit)
        found = [line for piece in pieces for line in lines.feed(piece)]
        return found + lines.end(), lines.overflowed

    at = data.draw(st.integers(0, len(stream)))
    whole = cut([stream])
    assert cut([stream[:at], stream[at:]]) == whole
    assert cut([stream[index : index + 1] for index in range(len(stream))]) == whole
    assert all(len(line) <= limit for line in whole[0])


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_the_rest_of_a_line_that_is_skipped_is_not_kept(piece: int) -> None:
    lines = LineBuffer(64)
    assert lines.feed(b"first\nabc") == [b"first"]
    assert lines.skip() == b"abc"
    stream = b"x" * 40 + b"\nsecond\n"
    found = []
    for start in range(0, len(stream), piece):
        found += lines.feed(stream[start : start + piece])
        assert len(lines) < 7
    assert found == [b"second"]
    assert not lines.overflowed


def test_a_line_that_is_skipped_may_not_be_endless_either() -> None:
    lines = LineBuffer(64)
    lines.feed(b"x" * 60)
    lines.skip()
    assert lines.feed(b"y" * 5 + b"\nbehind\n") == []
    assert lines.overflowed
