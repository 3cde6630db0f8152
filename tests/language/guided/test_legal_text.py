"""What of a model's text is shown, piece by piece."""

from __future__ import annotations

from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.legal_text import LegalText
from rkllmd.language.guided.schema.schemas import rewrite


def legal_text(schema: object) -> LegalText:
    assert isinstance(schema, dict)
    return LegalText(Judge(Grammar(rewrite(schema))))


def test_what_is_legal_passes_with_the_tokens_that_it_took() -> None:
    text = legal_text({"type": "array"})
    assert [text.feed(piece) for piece in ("\n", " [1", "", "", ", 2", "]")] == ["", "[1", "", "", ", 2", "]"]
    assert text.pieces == [(b"[1", 2), (b", 2", 3), (b"]", 1)]
    assert text.needs_words, "nothing can follow"
    assert text.feed(" and more") == ""
    assert text.refused is None


def test_what_is_illegal_is_kept_apart_until_other_words_are_put_in() -> None:
    text = legal_text({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]})
    assert text.feed("") == ""
    assert text.feed("{a") == "{"
    assert (text.legal_part, text.refused, text.refused_tokens) == (b"{", b"a", 2)
    assert text.feed("never seen") == ""
    assert text.put(b'"a": ') == '"a": '
    text.go_on()
    assert (text.legal_part, text.refused, text.pieces, text.needs_words) == (b"", None, [], False)
    assert text.feed("1") == "1"


def test_a_character_is_shown_when_it_is_whole() -> None:
    text = legal_text({"type": "string", "pattern": "^é$"})
    assert text.feed('"ü') == '"'
    assert text.is_in_character
    assert text.put(b"\xa9") == "é"
    assert not text.is_in_character


def opened(*pieces: str) -> tuple[list[str], LegalText]:
    text = legal_text({"type": "array"})
    text.openings = [b"<call>", b"[CALL]"]
    return [text.feed(piece) for piece in pieces], text


def test_what_begins_with_a_call_is_legal_to_its_end() -> None:
    assert opened("\n", "<ca", "ll>x", "]")[0] == ["", "", "<call>x", "]"]
    shown, text = opened("[", "CALL]", " what")
    assert (shown, text.needs_words) == (["", "[CALL]", " what"], False)


def test_what_only_began_like_a_call_is_judged() -> None:
    shown, text = opened("[", "", "1", ",2]")
    assert shown == ["", "", "[1", ",2]"]
    assert text.pieces == [(b"[1", 3), (b",2]", 1)]
    shown, text = opened("<", "c", "b")
    assert (shown, text.refused, text.refused_tokens) == (["", "", ""], b"<cb", 3)
