"""Conversations by name: what was said in each, who owns it, how long it is kept. It decides; nothing here calls C.

A session belongs to a user and a model. It is text in memory, and in the store (``store/sessions.py``), from which the
next daemon goes on with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import field
from typing import Final

from rkllmd.quick_dataclass import dataclass
from rkllmd.store.sessions import KeptSession, KeptSessions, KeptTurn
from rkllmd.store.store import Store

# An average of most tokenizers; corrected by how many tokens the runtime says it has read.
_BYTES_PER_TOKEN: Final = 3.0
# What stands between the turns, about.
_MARKERS_BYTES: Final = 80
# A board without a clock starts in 1970 or so, and learns the time later: what it has written before says nothing.
_FIRST_TIME: Final = 1_600_000_000.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer.

    ``thinking``: whether the answer may have begun with thoughts; ``special``: whether control markers in the question
    counted as such (otherwise they are plain text).
    """

    question: str
    answer: str
    thinking: bool = False
    special: bool = False

    @property
    def size_bytes(self) -> int:
        """Return how many bytes of text the turn has."""
        return len(self.question.encode()) + len(self.answer.encode())


@dataclass(eq=False)
class Session:
    """One conversation."""

    user: int | None
    name: str
    model_path: str
    made_at: float
    used_at: float
    # Replaced, never changed: the worker thread reads it while the event loop may drop the session.
    turns: list[Turn] = field(default_factory=list)
    is_dropped: bool = False
    dropped_turns: int = 0
    bytes_per_token: float = _BYTES_PER_TOKEN
    number: int = 0

    @property
    def size_bytes(self) -> int:
        """Return how many bytes of text the session has."""
        return sum(turn.size_bytes for turn in self.turns)

    def turns_that_fit(self, question_bytes: int, tokens: int) -> list[Turn]:
        """Return the latest turns with which a prompt has no more than about ``tokens`` tokens."""
        turns = self.turns
        available = tokens * self.bytes_per_token - question_bytes
        while turns and sum(turn.size_bytes + _MARKERS_BYTES for turn in turns) > available:
            turns = turns[1:]
        return turns

    def add(self, turn: Turn, most_bytes: int, now: float) -> None:
        """Note what was said; the oldest turns are dropped if it becomes more than ``most_bytes``."""
        if self.is_dropped:
            return
        self.turns = [*self.turns, turn]
        self.used_at = now
        while len(self.turns) > 1 and self.size_bytes > most_bytes:
            self.turns = self.turns[1:]
            self.dropped_turns += 1

    def learn(self, size_bytes: int, tokens: int) -> None:
        """Note how many tokens a prompt of ``size_bytes`` bytes had."""
        if tokens > 0 and size_bytes > 0:
            self.bytes_per_token = max(0.5, size_bytes / tokens)


class Sessions:
    """All sessions, by user, name and model."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        kept: KeptSessions | None = None,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        """Go on with those that an earlier daemon has ``kept``; ``calendar`` returns the seconds since 1970."""
        self._clock = clock
        self._kept = KeptSessions(Store()) if kept is None else kept
        self._calendar = calendar
        # A session may be dropped on one thread while a turn of it ends on another.
        self._lock = threading.Lock()
        self._sessions: dict[tuple[int | None, str, str], Session] = {}
        for found, turns in self._kept.read():
            session = self._taken_over(found, turns)
            self._sessions[session.user, session.name, session.model_path] = session
        self._next_number = 1 + max((session.number for session in self._sessions.values()), default=0)

    def now(self) -> float:
        """Return the time by which sessions age."""
        return self._clock()

    def open(self, user: int | None, name: str, model_path: str, most: int, age_seconds: float) -> Session:
        """Return the user's session of this name on this model; if there is none, a new one.

        If the user would have more than ``most`` then, those that were used longest ago are dropped.
        """
        self.expire(age_seconds)
        key = (user, name, model_path)
        session = self._sessions.get(key)
        if session is None:
            mine = self.of(user)
            for old in mine[max(0, most - 1) :]:
                self._remove(old)
            session = Session(user, name, model_path, self.now(), self.now(), number=self._next_number)
            self._next_number += 1
            self._sessions[key] = session
        session.used_at = self.now()
        return session

    def add(self, session: Session, turn: Turn, most_bytes: int) -> None:
        """Note what was said, and keep it; the oldest turns are dropped if it becomes more than ``most_bytes``."""
        with self._lock:
            if not session.is_dropped:
                session.add(turn, most_bytes, self.now())
                self._keep(session, turn)

    def _keep(self, session: Session, turn: Turn) -> None:
        ahead = self._calendar() - self.now()
        kept = KeptSession(
            session.number,
            session.user,
            session.name,
            session.model_path,
            session.made_at + ahead,
            session.used_at + ahead,
            session.dropped_turns,
            session.bytes_per_token,
        )
        number = session.dropped_turns + len(session.turns) - 1
        self._kept.add(kept, number, KeptTurn(turn.question, turn.answer, turn.thinking, turn.special))

    def of(self, user: int | None) -> list[Session]:
        """Return a user's sessions, the most recently used first."""
        mine = [session for session in self.all if session.user == user]
        return sorted(mine, key=lambda session: session.used_at, reverse=True)

    def drop(self, user: int | None, name: str) -> list[Session]:
        """Forget the user's sessions of this name on all models; return them."""
        found = [session for session in self.of(user) if session.name == name]
        for session in found:
            self._remove(session)
        return found

    def expire(self, age_seconds: float) -> None:
        """Forget the sessions that nobody has used for ``age_seconds``; 0: never."""
        now = self.now()
        for session in self.all:
            if age_seconds and now - session.used_at > age_seconds:
                self._remove(session)

    @property
    def all(self) -> list[Session]:
        """Return the sessions of all users."""
        return list(self._sessions.values())

    def _taken_over(self, kept: KeptSession, turns: list[KeptTurn]) -> Session:
        """Return the session of an earlier daemon, as old as it is."""
        made_at, used_at = (
            self.now() - (max(0.0, self._calendar() - at) if at > _FIRST_TIME else 0.0)
            for at in (kept.made_at, kept.used_at)
        )
        said = [Turn(turn.question, turn.answer, turn.thinking, turn.special) for turn in turns]
        session = Session(kept.user, kept.name, kept.model_path, made_at, used_at, said, number=kept.number)
        session.dropped_turns, session.bytes_per_token = kept.dropped_turns, kept.bytes_per_token
        return session

    def _remove(self, session: Session) -> None:
        del self._sessions[session.user, session.name, session.model_path]
        with self._lock:
            session.turns, session.is_dropped = [], True  # what was said is gone now, even if somebody has the object
            self._kept.forget([session.number])
