"""Whose words the KV cache of a model holds, what of them was lost, and who is still to be told. It decides; no C here.

A conversation or a paused run belongs to the client that built it, but every client may change the model that it is in.
Whoever has lost something by that is told in the final result of its next run (``history_reset``). A session loses
nothing: where its words are gone, they are told to the model anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkllmd.language.sessions.sessions import Session


@dataclass(eq=False)
class KvCache:
    """What one model remembers. Used on the event loop and on the worker thread, never by both for one model at once.

    ``can_hear`` says whether a client is still there to be told; else the numbers of all that ever were would gather.
    """

    can_hear: Callable[[int], bool] = lambda client: True
    owner: int | Session | None = None
    # The next turn of the owner goes on with what is there.
    is_kept: bool = False
    is_paused: bool = False
    # Who has lost something and does not know it yet.
    untold: set[int] = field(default_factory=set)
    # Something was lost when the model was loaded again: the next run says so, whose it ever is.
    is_news_to_all: bool = False

    @property
    def holds_words(self) -> bool:
        """Return whether there is something to be lost: a conversation, or a run that can be resumed."""
        return self.is_kept or self.is_paused

    def is_foreign_to(self, client: int | Session, *, keep_history: bool) -> bool:
        """Return whether it must be cleared before a turn of ``client``, so that nobody's words leak into it."""
        return self.owner not in (None, client) and (self.holds_words or keep_history)

    def begin_turn(self, owner: int | Session, *, keep_history: bool) -> None:
        """Note whose turn it is from now on."""
        self.owner, self.is_kept = owner, keep_history

    def lose(self, by: int | None = None) -> int | Session | None:
        """Note that all of it is gone, by a call of ``by``, who knows that; return who has lost something, if anybody.

        ``by`` is None where the owner is to be told even if its own call has done it.
        """
        loser = self.owner if self.holds_words and self.owner != by else None
        self._tell_later(loser)
        self.owner, self.is_kept, self.is_paused = None, False, False
        return loser

    def lose_part(self, by: int) -> int | Session | None:
        """Note that a part is gone; as ``lose``, but a paused run can still be resumed."""
        loser = self.owner if self.holds_words and self.owner != by else None
        if not isinstance(loser, int) and loser is not None:  # a session: what is there is not what was said
            return self.lose(by)
        self._tell_later(loser)
        return loser

    def lose_by_unloading(self) -> None:
        """Note that the model was unloaded, and will be loaded again."""
        self.is_news_to_all = self.is_news_to_all or (self.holds_words and isinstance(self.owner, int))
        self.lose()

    def take_news(self, client: int) -> bool:
        """Return whether something was lost that a run of ``client`` has to tell; it is told with that."""
        is_news = self.is_news_to_all or client in self.untold
        self.is_news_to_all = False
        self.untold.discard(client)
        return is_news

    def _tell_later(self, loser: int | Session | None) -> None:
        if isinstance(loser, int) and self.can_hear(loser):
            self.untold.add(loser)
