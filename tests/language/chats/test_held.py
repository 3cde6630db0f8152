"""Whose conversation it is, for the log."""

from __future__ import annotations

from rkllmd.language.chats.held import Chat


def test_a_conversation_says_whose_it_is() -> None:
    assert Chat(1000).describe() == "a conversation (uid 1000)"
    assert Chat(1000, 3, "kitchen").describe() == "session kitchen (uid 1000)"
