"""What is written beside the prompt cache of a conversation, so that the next daemon knows what is in it.

Of a session's there is nothing: who drops a session wants nothing of it to stay, and its turns are told anew.
"""

from __future__ import annotations

from rkllmd.json_types import Json, JsonObject
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.chats.text import Text


def written(kept: KeptChat) -> JsonObject | None:
    """Return what says all about a conversation but its user; None for one that is not kept over a restart."""
    held = kept.held
    if kept.chat.session is not None or held.has_media:
        return None
    return {
        "model_path": kept.model_path,
        "basis": held.basis,
        "digests": [digest.hex() for digest in held.digests],
        "text": [list(part) for part in held.text.parts],
        "is_exact": held.is_exact,
        "lora": held.lora,
        "ends": [list(end) for end in held.ends],
    }


def read(note: Json, name: str, user: int | None) -> KeptChat | None:
    """Return the conversation in the cache ``name`` of a user; None if the note is none of ours."""
    try:
        held = Held(
            str(note["basis"]),
            tuple(bytes.fromhex(digest) for digest in note["digests"]),
            Text(tuple((str(text), bool(is_control)) for text, is_control in note["text"])),
            bool(note["is_exact"]),
            None if note["lora"] is None else str(note["lora"]),
            ends=tuple((int(messages), int(parts)) for messages, parts in note["ends"]),
        )
        return KeptChat(name, Chat(user), str(note["model_path"]), held)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
