"""From result callbacks to texts: characters that come in parts, numbered partials, the final text."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rkllmd.chat.answers.dialect import DIALECTS
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.texts.transcript import NORMAL, WAITING, TextJoiner, Transcript
from tests.language.generation.generations import EURO

SAMPLE = "aä€😀\u0000\ufeffz"


def joined(*callbacks: tuple[int, bytes | None]) -> list[str]:
    """Return the text of each callback, and of the end."""
    joiner = TextJoiner()
    texts = [joiner.add(state, data) for state, data in callbacks]
    texts.append(joiner.end())
    assert "".join(texts) == "".join(joiner.parts), "what was sent is what is kept"
    assert joiner.end() == "", "it has ended"
    return texts


# TextJoiner


@pytest.mark.parametrize("cut", range(len(SAMPLE.encode()) + 1))
def test_a_text_cut_at_any_byte(cut: int) -> None:
    raw = SAMPLE.encode()
    first, second, rest = joined((NORMAL, raw[:cut]), (NORMAL, raw[cut:]))
    assert first + second + rest == SAMPLE
    assert first == raw[:cut].decode(errors="ignore"), "whole characters go out at once"
    assert rest == ""


def test_a_text_in_single_bytes() -> None:
    assert "".join(joined(*[(NORMAL, bytes([byte])) for byte in SAMPLE.encode()])) == SAMPLE


@pytest.mark.parametrize("held", [None, b""])
def test_waiting_that_shows_nothing(held: bytes | None) -> None:
    assert joined((WAITING, held), (WAITING, held), (NORMAL, EURO)) == ["", "", "€", ""]


def test_waiting_that_shows_bytes_which_the_next_text_repeats() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, EURO)) == ["", "€", ""]
    assert joined((WAITING, EURO[:1]), (WAITING, EURO[:2]), (NORMAL, EURO)) == ["", "", "€", ""]
    assert joined((WAITING, b"a" + EURO[:1]), (NORMAL, b"a" + EURO)) == ["", "a€", ""]


def test_waiting_that_shows_bytes_which_the_next_text_continues() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, EURO[2:])) == ["", "€", ""]
    assert joined((WAITING, EURO[:1]), (WAITING, EURO[1:2]), (NORMAL, EURO[2:] + b"!")) == ["", "", "€!", ""]
    assert joined((NORMAL, EURO[:1]), (WAITING, EURO[1:2]), (NORMAL, EURO[2:])) == ["", "", "€", ""]


def test_waiting_bytes_that_never_complete_are_replaced_and_not_lost() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, b"x")) == ["", "\ufffdx", ""]
    assert joined((NORMAL, b"a"), (WAITING, EURO[:2])) == ["a", "", "\ufffd"]
    assert joined((WAITING, EURO[:2]), (NORMAL, None), (NORMAL, b"")) == ["", "", "", "\ufffd"]


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_callback_without_text(nothing: bytes | None) -> None:
    assert joined((NORMAL, EURO[:1]), (NORMAL, nothing), (NORMAL, EURO[1:])) == ["", "", "€", ""]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\x80", "\ufffd"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf5\x80\x80\x80", "\ufffd" * 4),
        (EURO[:2], "\ufffd"),
        (EURO[:2] + b"a", "\ufffda"),
        (b"\xf0\x9f\x98", "\ufffd"),
    ],
)
def test_stray_bytes_become_replacement_characters(raw: bytes, text: str) -> None:
    assert "".join(joined((NORMAL, raw))) == text
    assert "".join(joined(*[(NORMAL, bytes([byte])) for byte in raw])) == text


PIECES = st.lists(
    st.binary(max_size=6)
    | st.text(max_size=4).map(str.encode)
    | st.sampled_from([b"\xe2", b"\x82", b"\xac", b"\xf0\x9f"]),
    max_size=12,
)


@settings(deadline=None)
@given(PIECES)
@example([b"\xe2", b"\x82\xac"])
@example([b"\xf0\x9f", b"", b"\x98", b"a"])
def test_joined_is_the_whole_text_however_it_is_cut(pieces: list[bytes]) -> None:
    texts = joined(*[(NORMAL, piece) for piece in pieces])
    assert "".join(texts) == b"".join(pieces).decode("utf-8", "replace")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([NORMAL, WAITING]), st.none() | st.binary(max_size=5)), max_size=12))
def test_the_text_is_valid_whatever_comes(callbacks: list[tuple[int, bytes | None]]) -> None:
    for text in joined(*callbacks):
        assert text.encode().decode() == text
        orjson.dumps(text)


@settings(deadline=None)
@given(st.text(max_size=12), st.data())
def test_held_back_bytes_are_neither_lost_nor_doubled(text: str, data: st.DataObject) -> None:
    """As a runtime would cut it: what leaves a character unfinished is WAITING, and then repeated or continued."""
    raw = text.encode()
    cuts = sorted({0, len(raw), *data.draw(st.lists(st.integers(0, len(raw)), max_size=6))})
    repeats = data.draw(st.booleans())
    callbacks: list[tuple[int, bytes | None]] = []
    start = 0
    for before, cut in itertools.pairwise(cuts):
        piece = raw[start:cut] if repeats else raw[before:cut]
        try:
            raw[start:cut].decode()
        except UnicodeDecodeError:
            callbacks.append((WAITING, piece))
        else:
            callbacks.append((NORMAL, piece))
            start = cut
    assert "".join(joined(*callbacks)) == text


# Transcript


def test_partials_are_numbered_without_a_gap() -> None:
    transcript = Transcript(1)
    states = [NORMAL, WAITING, NORMAL, NORMAL]
    partials = [transcript.partial(state, [(100 + n, b"x")]) for n, state in enumerate(states)]
    assert [partial["seq"] for partial in partials] == [0, 1, 2, 3]
    assert [partial["_callback_state"] for partial in partials] == states
    assert [partial["token_id"] for partial in partials] == [100, 101, 102, 103]
    assert transcript.tokens == 4


def test_a_partial_that_waits_has_no_text() -> None:
    transcript = Transcript(1)
    assert transcript.partial(WAITING, [(7, EURO[:1])]) == {"text": "", "token_id": 7, "_callback_state": 1, "seq": 0}
    assert transcript.partial(NORMAL, [(8, EURO)]) == {"text": "€", "token_id": 8, "_callback_state": 0, "seq": 1}


def test_the_final_text_is_the_whole_or_the_rest() -> None:
    for whole, text in ((True, "a\ufffd"), (False, "\ufffd")):
        transcript = Transcript(1)
        transcript.partial(NORMAL, [(7, b"a" + EURO[:1])])
        assert transcript.final(whole=whole) == {"text": text, "token_id": 0, "_callback_state": 2}


def test_a_batch_has_a_text_for_each_entry() -> None:
    transcript = Transcript(2)
    assert transcript.partial(NORMAL, [(1, EURO[:1]), (2, b"b")]) == {
        "batch": [{"text": "", "token_id": 1}, {"text": "b", "token_id": 2}],
        "_callback_state": 0,
        "seq": 0,
    }
    # A finished entry has a negative token_id.
    assert transcript.partial(NORMAL, [(3, EURO[1:]), (-1, None)])["batch"] == [
        {"text": "€", "token_id": 3},
        {"text": "", "token_id": -1},
    ]
    assert transcript.final(whole=True) == {
        "batch": [{"text": "€", "token_id": 0}, {"text": "b", "token_id": 0}],
        "_callback_state": 2,
    }


# Transcript with a reader

CALL = b'<tool_call>{"name": "search", "arguments": {"query": "\xe2\x82\xac"}}</tool_call>'


def read(**options: Any) -> Transcript:
    transcript = Transcript(1, options.get("stop", ()))
    transcript.read_by(AnswerReader(DIALECTS["hermes"], tools=[{"name": "search"}], **options))
    return transcript


def test_a_reader_gets_whole_characters_and_its_partials_are_numbered() -> None:
    transcript = read()
    at = CALL.index(EURO) + 1
    pieces = (CALL[:at], CALL[at:], b"<think>")
    partials = [transcript.partial(NORMAL, [(100 + n, piece)]) for n, piece in enumerate(pieces)]
    assert [(partial["seq"], partial["token_id"], partial["_callback_state"]) for partial in partials] == [
        (0, 100, NORMAL),
        (1, 101, NORMAL),
        (2, 102, NORMAL),
    ]
    assert partials[1]["tool_calls"][0]["function"] == {"name": "search", "arguments": {"query": "€"}}
    assert partials[2]["text"] == "<think>"
    assert transcript.made == 3
    assert transcript.calls_tools
    assert transcript.so_far()["text"] == "<think>"
    assert transcript.raw() == CALL.decode() + "<think>"


@pytest.mark.parametrize("whole", [True, False])
def test_the_final_result_has_calls_whole_and_the_text_whole_or_its_rest(whole: bool) -> None:
    transcript = read()
    for piece in (b"<think>a</think>b", CALL, b"c", b"<tool_c" + EURO[:1]):
        transcript.partial(NORMAL, [(7, piece)])
    final = transcript.final(whole=whole)
    assert final["text"] == ("bc<tool_c\ufffd" if whole else "<tool_c\ufffd")
    assert final.get("reasoning") == ("a" if whole else None)
    (call,) = final["tool_calls"]
    assert call["function"] == {"name": "search", "arguments": {"query": "€"}}
    assert (final["token_id"], final["_callback_state"]) == (0, 2)
    assert "stop_sequence" not in final


def test_a_reader_finds_the_stop_string_also_at_the_end() -> None:
    transcript = read(stop=["!", "!!"])
    assert transcript.partial(NORMAL, [(7, b"a!")])["text"] == "a"
    assert not transcript.is_stopped
    assert transcript.final(whole=False) == {
        "text": "", "token_id": 0, "_callback_state": 2, "stop_sequence": "!"
    }  # fmt: skip
    assert transcript.is_stopped
    assert not transcript.calls_tools
    other = read(stop=["!"])
    other.partial(NORMAL, [(7, b"a!b")])
    assert other.is_stopped
    assert other.raw() == "a!b"
