"""The tables of sessions: what is read is what was said, and nothing of another session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from rkllmd.store.sessions import KeptSession, KeptSessions, KeptTurn
from tests.store.stores import opened, written

SESSION = KeptSession(1, 1000, "kitchen", "/models/ä", 10.5, 20.5, 0, 3.0)
TURN = KeptTurn("How?", "Thus. \0 ☃", thinking=True, special=False)


def test_a_session_is_read_with_its_turns_in_order(tmp_path: Path) -> None:
    nobodys = replace(SESSION, number=2, user=None)
    with opened(tmp_path) as store:
        sessions = KeptSessions(store)
        for number in range(12):
            sessions.add(replace(SESSION, used_at=number), number, replace(TURN, question=f"{number}"))
        sessions.add(nobodys, 0, TURN)
        sessions.add(replace(SESSION, number=3), 0, TURN)
        sessions.forget([3])
        last = replace(SESSION, dropped_turns=10)
        sessions.add(last, 12, TURN)
    with opened(tmp_path) as store:
        turns = [replace(TURN, question="10"), replace(TURN, question="11"), TURN]
        assert KeptSessions(store).read() == [(last, turns), (nobodys, [TURN])]


def test_the_first_turn_of_a_session_is_its_first(tmp_path: Path) -> None:
    """A store that could not be read at the start may hold another session under this number."""
    with opened(tmp_path) as store:
        sessions = KeptSessions(store)
        for number in range(3):
            sessions.add(SESSION, number, replace(TURN, answer="secret"))
        other = replace(SESSION, user=7)
        sessions.add(other, 0, TURN)
        written(store)
        assert sessions.read() == [(other, [TURN])]


def test_what_makes_no_sense_is_left_out_and_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as store, capture_logs() as logs:
        sessions = KeptSessions(store)
        sessions.add(SESSION, 0, TURN)
        store.write(
            ("INSERT INTO sessions VALUES (2, 1, 'a', '/m', 'x', 0, 0, 3), (3, 1, x'00', '/m', 0, 0, 0, 3)", ())
        )
        store.write(
            ("INSERT INTO turns VALUES (2, 0, 'a', 'b', 0, 0), (9, 0, 'a', 'b', 0, 0), (1, 1, x'00', '', 0, 0)", ())
        )
        written(store)
        assert sessions.read() == [(SESSION, [TURN])]
        assert {line["event"] for line in logs} == {"store_row_not_read"}
        written(store)
        assert store.read("SELECT DISTINCT session FROM turns") == [(1,)]
        assert store.read("SELECT number FROM sessions") == [(1,)]
