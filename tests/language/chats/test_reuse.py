"""How much of a conversation has to be read again: what goes on, what was edited, what is somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rkllmd.language.chats.held import Held
from rkllmd.language.chats.messages import Message, answer, question
from rkllmd.language.chats.reuse import goes_on, plan
from rkllmd.language.chats.text import Text

ONE, TWO, THREE = question("one"), question("two"), question("three")
FIRST, SECOND = answer("1"), answer("2")


class Bare:
    """Renders a message as its text in brackets; the whole text is the daemon's."""

    source = "model"
    is_bare = True

    def whole(self, messages: Sequence[Message]) -> Text:
        """Return all of it."""
        return Text.of([("".join(f"[{message.text}]" for message in messages), False)])

    def after(self, messages: Sequence[Message], known: int) -> tuple[Text, Text]:
        """Return what follows."""
        return Text.of([("]", True)]), self.whole(messages[known:])

    def lead(self, *, thinking: bool) -> Text:
        """Return nothing: it is a part of the text."""
        return Text()


class Inside(Bare):
    """Leaves the end of a turn to the runtime."""

    is_bare = False


def held(*messages: Message, basis: str = "b", is_exact: bool = True) -> Held:
    return Held(basis, tuple(message.digest for message in messages), Text.of([("held", False)]), is_exact)


def told(cache: Held | None, *messages: Message, template: Any = None, **more: Any) -> tuple[bool, str, str]:
    telling = plan(cache, "b", messages, template or Bare(), **{"compares_tokens": False, **more})
    return telling.goes_on, str(telling.text), str(telling.whole)


def test_a_conversation_that_goes_on_is_given_its_new_part_only() -> None:
    assert told(held(ONE, FIRST), ONE, FIRST, TWO) == (True, "][two]", "held][two]")
    assert told(held(ONE, FIRST), ONE, FIRST, TWO, template=Inside()) == (True, "[two]", "held][two]")
    assert told(held(ONE, FIRST), ONE, FIRST, TWO, SECOND, THREE)[:2] == (True, "][two][2][three]")


@pytest.mark.parametrize(
    ("cache", "messages"),
    [
        (None, (ONE,)),
        (held(ONE, FIRST), (ONE,)),
        (held(ONE, FIRST), (ONE, FIRST)),
        (held(ONE, FIRST), (TWO, FIRST, THREE)),
        (held(ONE, FIRST), (ONE, SECOND, THREE)),
        (held(ONE, FIRST, TWO, SECOND), (ONE, FIRST, THREE)),
        (held(ONE, FIRST, basis="another adapter"), (ONE, FIRST, TWO)),
        (held(), (ONE,)),
    ],
    ids=["empty", "again", "answered anew", "edited", "another answer", "shorter", "basis", "nothing"],
)
def test_any_other_is_told_from_the_beginning(cache: Held | None, messages: tuple[Message, ...]) -> None:
    whole = "".join(f"[{message.text}]" for message in messages)
    assert told(cache, *messages) == (False, whole, whole)


def test_what_the_cache_has_beside_an_answer_is_cut_where_tokens_can_be_compared() -> None:
    cut = held(ONE, FIRST, is_exact=False)
    assert told(cut, ONE, FIRST, TWO)[0]
    assert told(cut, ONE, FIRST, TWO, compares_tokens=True) == (False, "held][two]", "held][two]")


def test_a_session_may_have_dropped_its_oldest_turns_or_told_fewer() -> None:
    same = {"is_same_session": True}
    assert told(held(ONE, FIRST, TWO, SECOND), TWO, SECOND, THREE, **same)[0]
    assert told(held(TWO, SECOND), ONE, FIRST, TWO, SECOND, THREE, **same)[:2] == (True, "][three]")
    assert not told(held(ONE, FIRST), ONE, SECOND, THREE, **same)[0]
    assert not told(held(ONE, FIRST), TWO, **same)[0], "a new one of the same name"
    assert not told(held(ONE, FIRST, TWO, SECOND), TWO, SECOND, THREE)[0], "of others nothing is left out"


def test_an_edited_one_begins_as_it_was_generated_where_tokens_are_compared() -> None:
    """The template may write earlier answers otherwise, which are then not in the cache."""
    text = Text.of([("[one", False), ("1raw", False), ("][two", False), ("2raw", False)])
    cache = Held("b", tuple(message.digest for message in (ONE, FIRST, TWO, SECOND)), text, ends=((2, 2), (4, 4)))
    edited = plan(cache, "b", (ONE, FIRST, THREE), Bare(), compares_tokens=True)
    assert (str(edited.whole), edited.goes_on, edited.ends) == ("[one1raw][three]", False, ((2, 2),))
    assert str(plan(cache, "b", (ONE, FIRST, THREE), Bare(), compares_tokens=False).whole) == "[one][1][three]"
    assert str(plan(cache, "b", (TWO, FIRST, THREE), Bare(), compares_tokens=True).whole) == "[two][1][three]"
    goes_on = plan(cache, "b", (ONE, FIRST, TWO, SECOND, THREE), Bare(), compares_tokens=True)
    assert (goes_on.goes_on, goes_on.ends) == (True, ((2, 2), (4, 4)))


def test_whether_a_conversation_goes_on_is_known_before_it_is_rendered() -> None:
    for is_same_session in (False, True):
        assert goes_on(held(ONE, FIRST), "b", [ONE, FIRST, TWO], is_same_session=is_same_session)
        assert not goes_on(held(ONE, FIRST), "another", [ONE, FIRST, TWO], is_same_session=is_same_session)
        assert not goes_on(held(ONE, SECOND), "b", [ONE, FIRST, TWO], is_same_session=is_same_session)
    assert not goes_on(held(ONE, FIRST, TWO, SECOND), "b", [ONE, FIRST, THREE], is_same_session=False)
    assert goes_on(held(ONE, FIRST, TWO, SECOND), "b", [TWO, SECOND, THREE], is_same_session=True), (
        "the oldest is left out"
    )


def test_one_that_goes_on_can_be_told_from_the_beginning_as_it_was_generated() -> None:
    goes_on = plan(held(ONE, FIRST), "b", (ONE, FIRST, TWO), Bare(), compares_tokens=True)
    anew = goes_on.from_the_beginning()
    assert (str(anew.text), anew.whole, anew.ends) == ("held][two]", goes_on.whole, goes_on.ends)
    assert (anew.goes_on, anew.known) == (False, 0)
