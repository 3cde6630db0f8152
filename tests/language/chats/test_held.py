"""Whose conversation it is, for the log, and what two conversations have in common."""

from __future__ import annotations

from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.text import Text


def test_a_conversation_says_whose_it_is() -> None:
    assert Chat(1000).describe() == "a conversation (uid 1000)"
    assert Chat(1000, 3, "kitchen").describe() == "session kitchen (uid 1000)"


def test_an_answer_up_to_which_two_conversations_are_equal() -> None:
    held = Held("b", (b"1", b"2", b"3", b"4"), Text((("x", False),) * 6), ends=((2, 3), (4, 6)))
    assert held.common([b"1", b"2", b"3", b"4", b"5"]) == (4, 6)
    assert held.common([b"1", b"2", b"3", b"4"]) == (2, 3), "the last one is answered anew"
    assert held.common([b"1", b"2", b"x"]) == (2, 3)
    assert held.common([b"1", b"x", b"3"]) == (0, 0)
    assert Held("b", (b"1", b"2"), Text((("x", False),))).common([b"1", b"2", b"3"]) == (2, 1)
    assert Held("b", (), Text()).common([b"1"])[0] == 0
