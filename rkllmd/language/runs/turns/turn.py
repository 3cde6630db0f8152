"""One turn of a conversation, from what was asked to what is known of it after the run."""

from __future__ import annotations

from dataclasses import field

from rkllmd.language.caching.saved_by_runs import SavedByRuns
from rkllmd.language.chats.held import Chat
from rkllmd.language.chats.messages import Message
from rkllmd.language.chats.reuse import Telling, Template
from rkllmd.language.sessions.sessions import Session
from rkllmd.portable.extension import Counted
from rkllmd.quick_dataclass import dataclass


@dataclass(eq=False)
class ConversationTurn:
    """One turn in progress: what was said before, and what was done so that the model knows it."""

    chat: Chat
    messages: tuple[Message, ...]
    thinking: bool
    tools: str = ""
    session: Session | None = None
    template: Template | None = None
    telling: Telling | None = None
    basis: str = ""
    # Of the session, those before this one that the model was told anew.
    replayed_turns: int = 0
    # The sequence of the cache that it has in a batch with others.
    sequence: int | None = None
    cached_tokens: int | None = None
    # Of the whole conversation, where they were counted since the runtime does not say them.
    counted_tokens: int | None = None
    # Whether something was done to the KV cache for it.
    has_begun: bool = False
    caches: SavedByRuns | None = None
    lora: str | None = None
    # What C may read during the run.
    keep: list[object] = field(default_factory=list)
    # Whether the prompt is what the daemon has made of the messages, not what the client has written.
    is_rewritten: bool = False

    @property
    def has_media(self) -> bool:
        """Return whether there is more than text in the conversation."""
        return any(message.media for message in self.messages)

    @property
    def told(self) -> Telling:
        """Return what the model is told; only after ``telling.take``."""
        assert self.telling is not None
        return self.telling

    @property
    def is_bare(self) -> bool:
        """Return whether no template may stand around what it is told."""
        return self.template is not None and self.template.is_bare

    @property
    def counting(self) -> Counted:
        """Return how the tokens of the whole conversation are counted."""
        return Counted(self.told.whole.spans, bare=self.is_bare, thinking=self.thinking)
