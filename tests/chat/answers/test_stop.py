"""Stop strings in a text that comes in pieces, beside an oracle that has the whole text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rkllmd.chat.answers.stop import StopMatcher

# Few letters, so that strings overlap, contain one another and repeat.
STRINGS = st.lists(st.text("ab€", min_size=1, max_size=5), min_size=1, max_size=8)
PIECES = st.lists(st.text("ab€", max_size=4), max_size=12)


def oracle(text: str, strings: list[str]) -> tuple[str, str | None]:
    """Return what is shown of a whole text, and which string it was."""
    found = [(text.index(string), -len(string), string) for string in strings if string in text]
    if not found:
        return text, None
    start, _, string = min(found)
    return text[:start], string


def shown(pieces: list[str], strings: list[str]) -> tuple[list[str], str | None]:
    matcher = StopMatcher(strings)
    texts = [matcher.feed(piece) for piece in pieces]
    texts.append(matcher.end())
    assert matcher.end() == "", "it has ended"
    return texts, matcher.found


@given(PIECES, STRINGS)
@example(["a", "ab"], ["aab", "ab"])
@example(["aab"], ["aabb", "ab"])
@example(["ab"], ["abb", "ab"])
def test_it_finds_what_a_search_in_the_whole_text_finds(pieces: list[str], strings: list[str]) -> None:
    texts, found = shown(pieces, strings)
    assert ("".join(texts), found) == oracle("".join(pieces), strings)


@given(PIECES, STRINGS)
def test_nothing_is_shown_that_some_continuation_would_take_back(pieces: list[str], strings: list[str]) -> None:
    matcher, text, seen = StopMatcher(strings), "", ""
    for piece in pieces:
        text, seen = text + piece, seen + matcher.feed(piece)
        if matcher.found is not None:
            break
        for string in strings:
            for common in range(len(string)):
                if text.endswith(string[:common]):
                    assert oracle(text + string[common:], strings)[0].startswith(seen)


@given(PIECES, STRINGS)
def test_nothing_is_held_back_without_need(pieces: list[str], strings: list[str]) -> None:
    matcher, text, seen = StopMatcher(strings), "", ""
    for piece in pieces:
        text, seen = text + piece, seen + matcher.feed(piece)
        if matcher.found is not None or any(string in text for string in strings):
            break
        beginnings = {string[:size] for string in strings for size in range(len(string))}
        assert len(text) - len(seen) == max(len(some) for some in beginnings if text.endswith(some))


@pytest.mark.parametrize(
    ("pieces", "strings", "texts", "found"),
    [
        (["one", " two", " three"], [" two"], ["one", "", "", ""], " two"),
        (["x<", "|e", "nd|>y"], ["<|end|>"], ["x", "", "", ""], "<|end|>"),
        (["x<", "|e", "ach"], ["<|end|>"], ["x", "", "<|each", ""], None),
        (["x<|"], ["<|end|>"], ["x", "<|"], None),
        # The longer one may come, so the shorter one is not final until then, or until the end.
        (["a\n", "\nb"], ["\n", "\n\n"], ["a", "", ""], "\n\n"),
        (["a\n", "b"], ["\n", "\n\n"], ["a", "", ""], "\n"),
        (["a\n"], ["\n", "\n\n"], ["a", ""], "\n"),
        # One that is found ends the text, whatever begins within it.
        (["abc"], ["ab", "bcd"], ["", ""], "ab"),
        # One that begins earlier may still come.
        (["abc", "d"], ["bc", "abcd"], ["", "", ""], "abcd"),
        (["abc", "x"], ["bc", "abcd"], ["", "a", ""], "bc"),
    ],
)
def test_what_each_piece_shows(pieces: list[str], strings: list[str], texts: list[str], found: str | None) -> None:
    assert shown(pieces, strings) == (texts, found)


def test_a_match_is_known_with_its_last_character_if_nothing_else_can_come_of_it() -> None:
    matcher = StopMatcher(["ab"])
    assert matcher.feed("xab") == "x"
    assert matcher.found == "ab"


def test_the_cost_is_linear_for_a_text_that_nearly_matches_everywhere() -> None:
    looks = 0

    class Counted(dict[str, Any]):
        def get(self, *arguments: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().get(*arguments)

    matcher = StopMatcher(["a" * 255 + "b"])
    node = matcher._root
    while node.next:
        (child,) = node.next.values()
        node.next = Counted(node.next)
        node = child
    text = "a" * 10_000
    assert "".join(matcher.feed(piece) for piece in text) + matcher.end() == text
    assert matcher.found is None
    assert len(text) < looks <= 2 * len(text)
