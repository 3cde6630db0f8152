"""Sessions (named conversations): whose they are, and what was said in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass
from rkllmd.store.store import Statement, Store, Value, nobody_waits

log = structlog.get_logger()

_SESSIONS: Final = "number, user, name, model_path, made_at, used_at, dropped_turns, bytes_per_token"


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A question and its answer (``Turn`` in ``language/sessions/sessions.py``)."""

    question: str
    answer: str
    thinking: bool
    special: bool


@dataclass(frozen=True, slots=True)
class KeptSession:
    """One session without its turns; ``made_at`` and ``used_at`` are in seconds since 1970."""

    number: int
    user: int | None
    name: str
    model_path: str
    made_at: float
    used_at: float
    dropped_turns: int
    bytes_per_token: float


class KeptSessions:
    """The tables ``sessions`` and ``turns``; a session's turns are counted from the first that was ever said in it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> list[tuple[KeptSession, list[KeptTurn]]]:
        """Return all sessions with their turns in order; what makes no sense is deleted."""
        senseless: set[int] = set()
        found: dict[int, tuple[KeptSession, list[KeptTurn]]] = {}
        for row in self._store.read(f"SELECT {_SESSIONS} FROM sessions ORDER BY number"):
            try:
                found[row[0]] = _session(*row), []
            except (ValueError, TypeError) as error:
                log.warning("store_row_not_read", table="sessions", key=row[0], reason=str(error))
                senseless.add(row[0])
        turns = "SELECT session, question, answer, thinking, special FROM turns ORDER BY session, number"
        for number, question, answer, thinking, special in self._store.read(turns):
            if number in found and isinstance(question, str) and isinstance(answer, str):
                found[number][1].append(KeptTurn(question, answer, bool(thinking), bool(special)))
            else:
                log.warning("store_row_not_read", table="turns", key=number, reason="no turn of a session")
                senseless.add(number)
        self.forget(senseless - found.keys())
        return list(found.values())

    def add(self, session: KeptSession, number: int, turn: KeptTurn) -> None:
        """Write a turn of this number, and how the session is since; its dropped turns are deleted."""
        values: tuple[Value, ...] = (
            session.number,
            session.user,
            session.name,
            session.model_path,
            session.made_at,
            session.used_at,
            session.dropped_turns,
            session.bytes_per_token,
        )
        # Where the store could not be read, the number may have been another session's.
        first: list[Statement] = [("DELETE FROM turns WHERE session = ?", (session.number,))] if number == 0 else []
        said = (session.number, number, turn.question, turn.answer, turn.thinking, turn.special)
        self._store.write(
            *first,
            (f"INSERT OR REPLACE INTO sessions ({_SESSIONS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values),
            ("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?)", said),
            ("DELETE FROM turns WHERE session = ? AND number < ?", (session.number, session.dropped_turns)),
            durable=nobody_waits,
        )

    def forget(self, numbers: Iterable[int]) -> None:
        """Delete sessions and what was said in them."""
        statements: list[Statement] = []
        for number in numbers:
            statements += [
                ("DELETE FROM turns WHERE session = ?", (number,)),
                ("DELETE FROM sessions WHERE number = ?", (number,)),
            ]
        if statements:
            self._store.write(*statements)


def _session(number: Json, user: Json, name: Json, model_path: Json, *figures: Json) -> KeptSession:
    """Return the session of a row. Raises ValueError, TypeError."""
    made_at, used_at, dropped, bytes_per_token = (float(figure) for figure in figures)
    if not (isinstance(name, str) and isinstance(model_path, str) and bytes_per_token > 0 and dropped >= 0):
        raise ValueError("no session")
    owner = None if user is None else int(user)
    return KeptSession(int(number), owner, name, model_path, made_at, used_at, int(dropped), bytes_per_token)
