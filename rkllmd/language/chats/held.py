"""Whose conversation the KV cache holds, and what was said in it."""

from __future__ import annotations

from dataclasses import dataclass

from rkllmd.language.chats.text import Text


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
    adapter that it was computed with.
    """

    basis: str
    digests: tuple[bytes, ...]
    text: Text
    is_exact: bool = True
    lora: str | None = None
