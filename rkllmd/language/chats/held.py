"""Whose conversation the KV cache holds, and what was said in it."""

from __future__ import annotations

from collections.abc import Sequence

from rkllmd.language.chats.text import Text
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Chat:
    """Whose words they are: a user's (uid; None: the daemon's own), perhaps in a session, which has a number."""

    user: int | None
    session: int | None = None
    name: str = ""

    def describe(self) -> str:
        """Return who it is, for the log."""
        return f"{f'session {self.name}' if self.name else 'a conversation'} (uid {self.user})"


@dataclass(frozen=True, slots=True)
class Held:
    """What the KV cache holds of a conversation.

    ``basis``: what it depends on beside its messages, such as tools and adapter. ``digests``: those of its messages,
    the last of them the model's answer. ``text``: all that was read and generated. ``is_exact``: the cache has that and
    nothing else; otherwise also something of the answer that was not shown, such as a stop string. ``lora``: the
    adapter that it was computed with. ``ends``: for each answer in it, how many messages and parts of the text end
    there; without any, only the last one's is known.
    """

    basis: str
    digests: tuple[bytes, ...]
    text: Text
    is_exact: bool = True
    lora: str | None = None
    # There is more in it than text.
    has_media: bool = False
    ends: tuple[tuple[int, int], ...] = ()

    def common(self, digests: Sequence[bytes]) -> tuple[int, int]:
        """Return how many messages and parts of the text end with the last answer up to which a conversation is equal.

        It has to have more messages than that. (0, 0): none.
        """
        for messages, parts in reversed(self.ends or ((len(self.digests), len(self.text.parts)),)):
            if messages < len(digests) and self.digests[:messages] == tuple(digests[:messages]):
                return messages, parts
        return 0, 0
