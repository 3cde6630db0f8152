"""Places in a text that was rendered."""

from __future__ import annotations

from rkllmd.chat.templates.rendered import Rendered

RENDERED = Rendered("é<a>bü<a>c", ((2, 5), (8, 11)))


def test_a_text_has_parts() -> None:
    assert RENDERED.parts == [("é", False), ("<a>", True), ("bü", False), ("<a>", True), ("c", False)]
    assert Rendered("<a>", ((0, 3),)).parts == [("<a>", True)]
    assert Rendered("").parts == []


def test_the_end_can_be_left_out() -> None:
    assert RENDERED.without_end(1) == Rendered("é<a>bü<a>", RENDERED.control_spans)
    assert RENDERED.without_end(2) == Rendered("é<a>bü<a", ((2, 5),))
    assert RENDERED.without_end(0) == RENDERED


def test_what_follows_has_its_places_too() -> None:
    assert RENDERED.after("b") == Rendered("ü<a>c", ((2, 5),))
    assert RENDERED.after("ü") == Rendered("<a>c", ((0, 3),))
    assert Rendered("xax").after("x") == Rendered("")
    assert RENDERED.after("z") is None
