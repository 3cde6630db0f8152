"""What the judge tells a runtime that asks before each token, with a vocabulary of a few tokens."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import pytest

from rkllmd.abi.llguidance import Tokenizer, Vocabulary
from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.schema.schemas import rewrite
from rkllmd.language.guided.tokens import TokenGuide, Vocabularies
from tests.language.guided.vocabularies import END, vocabulary_of

TEXTS = [b'{"', b"a", b'"', b":", b"1", b"}", b'":', b"\xc3", b"\xa9", b"{", b"1}", b" "]
TOKENS = [None, *TEXTS, END, END]
A = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}


class Asking:
    """A runtime that asks what may follow a token."""

    def __init__(self, schema: Any, texts: list[bytes | None], openings: Sequence[str] = (), likes: int = -1) -> None:
        self.guide = TokenGuide(Grammar(rewrite(schema)), Tokenizer(vocabulary_of(texts)), openings)
        self.likes = likes
        self.count = len(texts)

    def after(self, last: int) -> set[int]:
        """Return the tokens that may follow ``last``."""
        bits = (ctypes.c_uint32 * ((self.count + 31) // 32))()
        self.guide(last, self.likes if last < 0 else -1, ctypes.addressof(bits), len(bits))
        return {token for token in range(self.count) if bits[token // 32] >> token % 32 & 1}


def tokens(*texts: bytes) -> set[int]:
    return {TEXTS.index(text) + 1 for text in texts}


def test_each_token_that_is_legal_may_follow_and_no_other() -> None:
    asking = Asking(A, TOKENS)
    begin = asking.after(-1)
    assert begin <= tokens(b'{"', b"{")
    assert begin
    asking.after(1)
    assert asking.after(2) <= tokens(b'"', b'":')
    asking.after(7)
    assert tokens(b"1}") <= asking.after(1 + TEXTS.index(b" ")) <= tokens(b"1", b"1}")
    assert asking.after(1 + TEXTS.index(b"1}")) == {len(TOKENS) - 2, len(TOKENS) - 1}, "only the end, any of them"


def test_a_token_that_was_not_legal_is_an_error_that_stays() -> None:
    asking = Asking(A, TOKENS)
    asking.after(-1)
    with pytest.raises(ValueError, match="grammar"):
        asking.after(5)
    assert asking.guide.error


def test_a_vocabulary_without_an_end_allows_nothing_at_the_end() -> None:
    asking = Asking({"const": 1}, [b"1", b"2"])
    assert asking.after(-1) == {0}
    assert asking.after(0) == set()


def test_a_vocabulary_is_read_once_for_each_file_of_the_last_models() -> None:
    vocabularies, read = Vocabularies(), list[str]()

    def ask(file: str | None) -> object:
        def vocabulary() -> Vocabulary:
            read.append(str(file))
            return vocabulary_of(TOKENS)

        return vocabularies.of(file, vocabulary)

    assert ask("a") is ask("a")
    for file in ("b", "a", "c", "a", "b", None, None, "a"):
        ask(file)
    assert read == ["a", "b", "c", "b", "None", "None"], "a was used all the time"


@pytest.mark.parametrize("opening", ["call", "[call]"])
def test_an_answer_that_the_model_begins_with_a_call_is_free(opening: str) -> None:
    begin, rest = opening[:2].encode(), opening[2:].encode()
    texts = [begin, rest, b"{", b"x", b"[", END]
    array = {"type": ["array", "object"]}
    assert Asking(array, [*texts], [opening], likes=2).after(-1) <= {2, 4}, "it likes what has the form"
    assert Asking(array, [*texts], [opening], likes=3).after(-1) <= {2, 4}, "it likes what may not be"
    asking = Asking(array, [*texts], [opening], likes=0)
    assert 0 in asking.after(-1)
    assert asking.after(0) == {1}
    assert asking.after(1) == {0, 1, 2, 3, 4, 5}
    assert asking.after(3) == {0, 1, 2, 3, 4, 5}


def test_what_may_begin_either_begins_what_has_the_form() -> None:
    texts = [b"[", b"call]", b"]", END]
    array = Asking({"type": "array"}, [*texts], ["[call]"], likes=0)
    assert array.after(-1) == {0}
    assert array.after(0) == {0, 2}
    other = Asking(A, [*texts, b"{"], ["[call]"], likes=0)
    assert other.after(-1) == {0}, "no answer that has the form begins so"
    assert other.after(0) == {1}
