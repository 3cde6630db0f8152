"""What is known of a turn by itself."""

from __future__ import annotations

import pytest

from rkllmd.language.chats.held import Chat
from rkllmd.language.chats.messages import Message, question
from rkllmd.language.runs.turns.turn import ConversationTurn


@pytest.mark.parametrize(
    ("media", "has"), [([[], []], False), ([["a picture"], []], True), ([[], ["a picture"]], True)]
)
def test_a_conversation_with_a_picture_in_any_message_has_media(media: list[list[str]], has: bool) -> None:
    said = [Message("user", "look", media=tuple(of)) for of in media]  # type: ignore[arg-type]  # anything but none
    assert ConversationTurn(Chat(1000), tuple(said), thinking=False).has_media is has


def test_before_it_is_told_nothing_is_known_of_how_it_is_told() -> None:
    turn = ConversationTurn(Chat(1000), (question("1"),), thinking=False)
    assert not turn.is_bare
    with pytest.raises(AssertionError):
        turn.told  # noqa: B018 - it is the access that fails
