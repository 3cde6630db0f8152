"""Whose words the KV cache of a model holds, who has lost some, and who still has to be told. It decides; no C here.

A conversation or a paused run belongs to the client that built it, but every client may change the model that it is in.
A client that loses something by that is told in the final result of its next run (``history_reset``). A conversation
that is given as messages, or is a session, loses nothing: when its words are gone, the model is given them anew.

All of this state changes here and nowhere else, by methods that say what has happened: a turn begins or ends, the cache
is cleared, the model is unloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from rkllmd.language.chats.held import Chat

if TYPE_CHECKING:
    from rkllmd.language.chats.held import Held

# No client has this number.
_SEVERAL: Final = -1


class KvCache:
    """What one model remembers.

    It is used on the event loop and on the worker thread, but never by both at once for the same model.
    """

    def __init__(self, can_hear: Callable[[int], bool] = lambda client: True) -> None:
        """Begin empty; ``can_hear`` says whether a client is still there to be told: others are not remembered."""
        self._can_hear = can_hear
        self._owner: int | Chat | None = None
        self._held: Held | None = None
        self._is_kept = False
        self._is_paused = False
        # What the sequences hold that entries of batches have, by their numbers; that of long ago comes first.
        self._sequences: dict[int, tuple[Chat, Held]] = {}
        self._unaware: set[int] = set()
        # A conversation was lost when the model was unloaded: the next run says so, whichever client's it is.
        self._is_news_to_all = False

    @property
    def owner(self) -> int | Chat | None:
        """Return the client or the conversation whose turn was the last one; None: the cache holds nobody's words."""
        return self._owner

    def is_of_user(self, user: int | None) -> bool:
        """Return whether the last turn was one of a conversation of this user."""
        return isinstance(self._owner, Chat) and self._owner.user == user

    @property
    def is_kept(self) -> bool:
        """Return whether the owner's next turn continues from what the cache holds."""
        return self._is_kept

    @property
    def is_paused(self) -> bool:
        """Return whether the cache holds a paused run, which can be resumed."""
        return self._is_paused

    @property
    def holds_words(self) -> bool:
        """Return whether there is something to lose: a conversation, or a run that can be resumed."""
        return self._is_kept or self._is_paused

    @property
    def unaware(self) -> frozenset[int]:
        """Return the clients that have lost something and do not know it yet."""
        return frozenset(self._unaware)

    def is_foreign_to(self, client: int, *, keep_history: bool) -> bool:
        """Return whether the cache must be cleared before a turn of ``client``, so that no words leak into it."""
        return self._owner not in (None, client) and (self.holds_words or keep_history)

    @property
    def held(self) -> Held | None:
        """Return the conversation that the owner's next turn continues; None if what there is can't be told."""
        return self._held if self._is_kept else None

    def take_turn(self, owner: int | Chat, *, keep_history: bool) -> None:
        """Note whose turn it is from now on; what was said in it is not known yet."""
        self._owner, self._is_kept, self._held = owner, keep_history, None
        self._sequences.clear()

    def hold(self, held: Held) -> None:
        """Note what was said in the owner's conversation, its last turn included."""
        self._held = held

    def take_turn_of_several(self, sequences: Collection[int] = ()) -> None:
        """Note that several clients have a turn together: what it leaves is foreign to each of them.

        ``sequences``: those that it writes into, where the runtime says that the others stay.
        """
        others = {number: held for number, held in self._sequences.items() if sequences and number not in sequences}
        self.take_turn(_SEVERAL, keep_history=False)
        self._sequences = others

    @property
    def sequences(self) -> Mapping[int, tuple[Chat, Held]]:
        """Return whose conversations the sequences hold, by their numbers; that of long ago comes first."""
        return self._sequences

    def hold_in(self, sequence: int, chat: Chat, held: Held) -> None:
        """Note what was said in a conversation that a sequence holds, its last turn included."""
        self._sequences.pop(sequence, None)
        self._sequences[sequence] = chat, held

    def forget_sequences(self) -> None:
        """Note that what the sequences hold can't be gone on with."""
        self._sequences.clear()

    def end_turn(self, *, is_paused: bool) -> None:
        """Note that the turn's run has ended, and whether it can be resumed."""
        self._is_paused = is_paused

    def take_turn_back(self, *, held_words: bool) -> None:
        """Note that the model was dead before the turn began; ``held_words``: whether there was something to lose."""
        self._is_kept = held_words

    def keep_nothing(self) -> None:
        """Note that what the turn has left is not what was said: the owner's next turn does not continue from it."""
        self._is_kept, self._held = False, None
        self._sequences.clear()

    def clear(self, by: int | None = None) -> int | Chat | None:
        """Note that the cache was cleared; return who has lost something by that, if anybody.

        ``by`` is the client whose call did it and who therefore knows; None if the owner is to be told in any case.
        """
        loser = self._loser(by)
        self._tell_later(loser)
        self._owner, self._held, self._is_kept, self._is_paused = None, None, False, False
        self._sequences.clear()
        return loser

    def clear_part(self, by: int) -> int | Chat | None:
        """Note that a part of the cache was cleared: as ``clear``, but a paused run can still be resumed."""
        loser = self._loser(by)
        self._sequences.clear()
        if not isinstance(loser, int) and loser is not None:  # what is left is not what was said
            return self.clear(by)
        self._tell_later(loser)
        return loser

    def lose(self) -> None:
        """Note that the model was unloaded, and that it will be loaded again with an empty cache."""
        self._is_news_to_all = self._is_news_to_all or (self.holds_words and isinstance(self._owner, int))
        self.clear()

    def take_news(self, client: int) -> bool:
        """Return whether a run of ``client`` has to say that something was lost; from now on that counts as said."""
        is_news = self._is_news_to_all or client in self._unaware
        self._is_news_to_all = False
        self._unaware.discard(client)
        return is_news

    def tell_no_more(self, client: int) -> None:
        """Forget what a client has lost: it is gone."""
        self._unaware.discard(client)

    def _loser(self, by: int | None) -> int | Chat | None:
        return self._owner if self.holds_words and self._owner != by else None

    def _tell_later(self, loser: int | Chat | None) -> None:
        if isinstance(loser, int) and self._can_hear(loser):
            self._unaware.add(loser)
