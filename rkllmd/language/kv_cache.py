"""Whose words the KV cache of a model holds, what of them was lost, and who is still to be told. It decides; no C here.

A conversation or a paused run belongs to the client that built it, but every client may change the model that it is in.
Whoever has lost something by that is told in the final result of its next run (``history_reset``). A session loses
nothing: where its words are gone, the model is given them anew.

All of this state changes here and nowhere else, by what has happened: a turn begins and ends, the cache is cleared, the
model is unloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkllmd.language.sessions.sessions import Session


class KvCache:
    """What one model remembers.

    Used on the event loop and on the worker thread, never by both for one model at once.
    """

    def __init__(self, can_hear: Callable[[int], bool] = lambda client: True) -> None:
        """Begin empty; ``can_hear`` says whether a client is still there to be told: the others are not remembered."""
        self._can_hear = can_hear
        self._owner: int | Session | None = None
        self._is_kept = False
        self._is_paused = False
        self._untold: set[int] = set()
        # Something was lost when the model was loaded again: the next run says so, whosever it is.
        self._is_news_to_all = False

    @property
    def owner(self) -> int | Session | None:
        """Return the client or session whose turn was the last one; None if nobody's words can be in it."""
        return self._owner

    @property
    def is_kept(self) -> bool:
        """Return whether the next turn of the owner goes on with what is there."""
        return self._is_kept

    @property
    def is_paused(self) -> bool:
        """Return whether a paused run is in it, which can be resumed."""
        return self._is_paused

    @property
    def holds_words(self) -> bool:
        """Return whether there is something to be lost: a conversation, or a run that can be resumed."""
        return self._is_kept or self._is_paused

    @property
    def untold(self) -> frozenset[int]:
        """Return who has lost something and does not know it yet."""
        return frozenset(self._untold)

    def is_foreign_to(self, client: int, *, keep_history: bool) -> bool:
        """Return whether it must be cleared before a turn of ``client``, so that nobody's words leak into it."""
        return self._owner not in (None, client) and (self.holds_words or keep_history)

    def knows(self, session: Session) -> bool:
        """Return whether it holds what was said in the session, and only that."""
        return self._owner is session and self._is_kept

    def take_turn(self, owner: int | Session, *, keep_history: bool) -> None:
        """Note whose turn it is from now on."""
        self._owner, self._is_kept = owner, keep_history

    def end_turn(self, *, is_paused: bool) -> None:
        """Note that the turn's run has ended, and whether it can be resumed."""
        self._is_paused = is_paused

    def take_turn_back(self, *, held_words: bool) -> None:
        """Note that the model was dead before the turn began; ``held_words``: it had something to be lost."""
        self._is_kept = held_words

    def keep_nothing(self) -> None:
        """Note that what the turn has left is not what was said: the owner's next turn does not go on with it."""
        self._is_kept = False

    def clear(self, by: int | None = None) -> int | Session | None:
        """Note that all of it is gone, by a call of ``by``, who knows that; return who has lost something, if anybody.

        ``by`` is None where the owner is to be told even if its own call has done it.
        """
        loser = self._loser(by)
        self._tell_later(loser)
        self._owner, self._is_kept, self._is_paused = None, False, False
        return loser

    def clear_part(self, by: int) -> int | Session | None:
        """Note that a part is gone; as ``clear``, but a paused run can still be resumed."""
        loser = self._loser(by)
        if not isinstance(loser, int) and loser is not None:  # a session: what is there is not what was said
            return self.clear(by)
        self._tell_later(loser)
        return loser

    def lose(self) -> None:
        """Note that the model was unloaded, and will be loaded again without it."""
        self._is_news_to_all = self._is_news_to_all or (self.holds_words and isinstance(self._owner, int))
        self.clear()

    def take_news(self, client: int) -> bool:
        """Return whether something was lost that a run of ``client`` has to tell; it is told with that."""
        is_news = self._is_news_to_all or client in self._untold
        self._is_news_to_all = False
        self._untold.discard(client)
        return is_news

    def tell_no_more(self, client: int) -> None:
        """Forget what a client has lost: it is gone."""
        self._untold.discard(client)

    def _loser(self, by: int | None) -> int | Session | None:
        return self._owner if self.holds_words and self._owner != by else None

    def _tell_later(self, loser: int | Session | None) -> None:
        if isinstance(loser, int) and self._can_hear(loser):
            self._untold.add(loser)
