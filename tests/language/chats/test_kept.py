"""Which conversations are kept: which one fits, which have to go."""

from __future__ import annotations

import pytest

from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat, KeptChats, common_length
from rkllmd.language.chats.messages import Message, answer, question
from rkllmd.language.chats.text import Text

ONE, FIRST, TWO, SECOND = question("one"), answer("1"), question("two"), answer("2")


def kept(text: str, *messages: object, user: int = 1, session: int | None = None, basis: str = "b") -> KeptChat:
    digests = tuple(message.digest for message in messages)  # type: ignore[attr-defined]  # messages
    return KeptChat(text, Chat(user, session), "/m", Held(basis, digests, Text(((text, False),))))


def digests(*messages: Message) -> list[bytes]:
    return [message.digest for message in messages]


def all_of(chats: KeptChats) -> list[str]:
    return [item.name for item in chats.remove(lambda item: True)]


@pytest.mark.parametrize(
    ("one", "other", "length"), [("", "", 0), ("abc", "abd", 2), ("abc", "abcd", 3), ("x", "y", 0), ("aéb", "aéc", 2)]
)
def test_the_common_beginning(one: str, other: str, length: int) -> None:
    assert common_length(one, other) == common_length(other, one) == length


def test_the_longest_beginning_of_the_same_user_model_and_basis_counts() -> None:
    chats = KeptChats()
    for item in (kept("abc"), kept("abcd x"), kept("abcdef", user=2), kept("abcdefg", basis="another")):
        chats.add(item)
    best, common = chats.best(1, "/m", "b", "abcdefgh")
    assert best is not None
    assert (best.name, common) == ("abcd x", 4)
    assert chats.best(1, "/other", "b", "abc") == (None, 0)
    assert chats.best(1, "/m", "b", "x") == (None, 0)


def test_what_goes_on_makes_its_beginning_useless() -> None:
    chats = KeptChats()
    for text in ("ab", "xy", "abc"):
        chats.add(kept(text))
    assert all_of(chats) == ["xy", "abc"]
    chats.add(kept("ab", user=2))
    chats.add(kept("abc"))
    assert all_of(chats) == ["ab", "abc"], "of another user nothing goes"
    chats.add(kept("told in full", session=7))
    chats.add(kept("its oldest turns have gone", session=7))
    assert all_of(chats) == ["its oldest turns have gone"]


def test_the_oldest_go_when_a_user_or_all_have_too_many() -> None:
    chats = KeptChats()
    gone = [item.name for number in range(20) for item in chats.add(kept(f"<{number}>"))]
    assert gone == ["<0>", "<1>", "<2>", "<3>"]
    gone = [item.name for user in range(2, 130) for item in chats.add(kept(f"<{user}>", user=user))]
    assert gone[:2] == ["<4>", "<5>"]
    assert len(all_of(chats)) == 128


def test_the_conversation_that_was_kept_is_found_by_its_messages() -> None:
    chats = KeptChats()
    chats.add(kept("a", ONE, FIRST))
    longer = kept("b", ONE, FIRST, TWO, SECOND)
    chats.add(longer)
    chats.add(kept("c"))
    going_on = digests(ONE, FIRST, TWO, SECOND, ONE)
    assert chats.earlier(1, "/m", "b", going_on) is longer.held
    assert chats.earlier(1, "/m", "b", going_on, more_than=3) is longer.held
    assert chats.earlier(1, "/m", "b", going_on, more_than=4) is None, "the cache has as much"
    assert chats.earlier(1, "/m", "b", digests(ONE, FIRST, TWO, SECOND)) is not longer.held, "it is answered anew"
    assert chats.earlier(1, "/m", "b", digests(ONE, SECOND, TWO)) is None
    assert chats.earlier(2, "/m", "b", digests(ONE, FIRST, TWO)) is None


def test_no_name_is_used_twice() -> None:
    chats = KeptChats()
    assert len({chats.new_name() for _ in range(3)}) == 3
