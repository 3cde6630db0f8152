"""What one daemon writes of a conversation, and the next one reads."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.chats.text import Text
from rkllmd.language.out_of_turn import notes

HELD = Held(
    "basis", (b"\x00\xff", b"ab"), Text((("<|im_start|>", True), ("ö", False))), False, "pirate", ends=((2, 1),)
)


@pytest.mark.parametrize("held", [HELD, Held("", (), Text())])
def test_what_was_written_is_read_again(held: Held) -> None:
    kept = KeptChat("chat-1", Chat(1000), "/m", held)
    note = orjson.loads(orjson.dumps(notes.written(kept)))
    found = notes.read(note, "chat-1", 1000)
    assert found is not None
    assert (found.name, found.chat, found.model_path, found.held) == ("chat-1", Chat(1000), "/m", held)


def test_of_sessions_nothing_is_written() -> None:
    assert notes.written(KeptChat("chat-1", Chat(1000, 3, "kitchen"), "/m", HELD)) is None


@pytest.mark.parametrize(
    "note",
    [None, [], {}, "x", {"basis": 1}, {**(notes.written(KeptChat("", Chat(1), "", HELD)) or {}), "digests": ["x"]}],
)
def test_what_is_none_of_ours_is_no_conversation(note: Any) -> None:
    assert notes.read(note, "chat-1", 1) is None
