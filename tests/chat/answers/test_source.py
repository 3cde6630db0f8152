"""The text of an answer for those who read it."""

from __future__ import annotations

from typing import TypeVar

import pytest

from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.source import Source

T = TypeVar("T")


def result(source: Source, reading: Reading[T], waiting: list[str]) -> T:
    """Return what is read of a text that comes in pieces; those that it does not wait for are left."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            found: T = end.value
            return found
        assert not source.has_ended, "nothing more can come"
        if waiting:
            source.feed(waiting.pop(0))
        else:
            source.has_ended = True


@pytest.mark.parametrize(
    ("pieces", "found", "rest"),
    [
        (["ab"], "ab", ""),
        (["a", "b"], "ab", ""),
        (["a", "bc", "d"], "abc", "d"),  # the longest
        (["a", "bx"], "ab", "x"),
        (["ax"], "", "ax"),
        (["a"], "", "a"),
        ([], "", ""),
    ],
)
def test_one_of_some_literals(pieces: list[str], found: str, rest: str) -> None:
    source = Source()
    assert result(source, source.literal("ab", "abc"), pieces) == found
    assert source.take_all() + "".join(pieces) == rest


def test_an_attempt_has_all_that_was_read_since_it_began() -> None:
    source = Source()
    source.feed("x  <a>word!")
    assert source.take(1) == "x"
    source.attempt()
    assert result(source, source.skip_space(), []) == "<"
    source.has_ended = False
    assert result(source, source.literal("<a>"), []) == "<a>"
    assert result(source, source.word("!", 10), []) == "word"
    assert source.attempted() == "  <a>word"
    assert source.attempted() == ""
    assert source.take_all() == "!"


@pytest.mark.parametrize(
    ("pieces", "most", "word"),
    [(["ab>"], 2, "ab"), (["a", "b", ">"], 2, "ab"), (["abc>"], 2, None), (["ab"], 9, None), ([">"], 2, "")],
)
def test_a_word_ends_within_its_bound_or_is_none(pieces: list[str], most: int, word: str | None) -> None:
    source = Source()
    assert result(source, source.word(">", most), pieces) == word


def test_whitespace_is_read_over_pieces_and_what_is_put_back_comes_again() -> None:
    source = Source()
    assert result(source, source.skip_space(), [" ", "\n\u2003", " x"]) == "x"
    assert source.take_all() == "x"
    source.put_back("yz")
    assert result(source, source.peek(), []) == "y"
    assert result(source, source.scan(lambda text, at: at + 1), []) == "y"
    assert result(source, source.peek(), []) == "z"
    assert source.take(1) == "z"
    assert result(source, source.skip_space(), []) == ""
