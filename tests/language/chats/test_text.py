"""A text in parts: where in it control markers count."""

from __future__ import annotations

from rkllmd.language.chats.text import Text


def test_the_spans_are_byte_offsets_of_what_is_meant() -> None:
    text = Text.of([("é", False), ("<E>", True), ("", True), ("x", False), ("<U>", True)])
    assert len(text.parts) == 4
    assert text.encode() == "é<E>x<U>".encode()
    assert text.spans == ((2, 5), (6, 9))
    assert [text.encode()[start:end] for start, end in text.spans] == [b"<E>", b"<U>"]


def test_texts_are_joined_and_changed_part_by_part() -> None:
    text = Text((("a", False),)) + Text((("b", True),))
    assert text.changed(str.upper) == Text((("A", False), ("B", True)))
    assert str(Text()) == ""
    assert Text().spans == ()
