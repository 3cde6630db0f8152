"""What the judge tells a runtime that asks before each token, with a vocabulary of a few tokens."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.schema.schemas import rewrite
from rkllmd.language.guided.tokens import TokenGuide, Vocabularies, tokenizer_of
from rkllmd.portable.extension import Piece

CONTROL, END = Piece(b"", False), Piece(b"", True)
TEXTS = [b'{"', b"a", b'"', b":", b"1", b"}", b'":', b"\xc3", b"\xa9", b"{", b"1}", b" "]
PIECES = [CONTROL, *(Piece(text, False) for text in TEXTS), END, END]
A = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}


class Asking:
    """A runtime that asks what may follow a token."""

    def __init__(self, schema: Any, pieces: list[Piece]) -> None:
        self.guide = TokenGuide(Grammar(rewrite(schema)), tokenizer_of(pieces))
        self.count = len(pieces)

    def after(self, last: int) -> set[int]:
        """Return the tokens that may follow ``last``."""
        bits = (ctypes.c_uint32 * ((self.count + 31) // 32))()
        self.guide(last, ctypes.addressof(bits), len(bits))
        return {token for token in range(self.count) if bits[token // 32] >> token % 32 & 1}


def tokens(*texts: bytes) -> set[int]:
    return {TEXTS.index(text) + 1 for text in texts}


def test_each_token_that_is_legal_may_follow_and_no_other() -> None:
    asking = Asking(A, PIECES)
    begin = asking.after(-1)
    assert begin <= tokens(b'{"', b"{")
    assert begin
    asking.after(1)
    assert asking.after(2) <= tokens(b'"', b'":')
    asking.after(7)
    assert tokens(b"1}") <= asking.after(1 + TEXTS.index(b" ")) <= tokens(b"1", b"1}")
    assert asking.after(1 + TEXTS.index(b"1}")) == {len(PIECES) - 2, len(PIECES) - 1}, "only the end, any of them"


def test_a_token_that_was_not_legal_is_an_error_that_stays() -> None:
    asking = Asking(A, PIECES)
    asking.after(-1)
    with pytest.raises(ValueError, match="grammar"):
        asking.after(5)
    assert asking.guide.error


def test_a_vocabulary_without_an_end_allows_nothing_at_the_end() -> None:
    asking = Asking({"const": 1}, [Piece(b"1", False), Piece(b"2", False)])
    assert asking.after(-1) == {0}
    assert asking.after(0) == set()


def test_a_vocabulary_is_read_once_for_each_file_of_the_last_models() -> None:
    vocabularies, read = Vocabularies(), list[str]()

    def ask(file: str | None) -> object:
        def pieces() -> list[Piece]:
            read.append(str(file))
            return PIECES

        return vocabularies.of(file, pieces)

    assert ask("a") is ask("a")
    for file in ("b", "a", "c", "a", "b", None, None, "a"):
        ask(file)
    assert read == ["a", "b", "c", "b", "None", "None"], "a was used all the time"
