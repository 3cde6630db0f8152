"""Conversations by name: whose they are, how a model gets them again, what goes when there are too many."""

from __future__ import annotations

from pathlib import Path

from rkllmd.language.sessions.sessions import Session, Sessions, Turn
from rkllmd.store.sessions import KeptSessions
from tests.store.stores import opened

DAY = 24 * 3600


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def session(*turns: Turn) -> Session:
    made = Session(1000, "kitchen", "/models/a", 0, 0)
    for turn in turns:
        made.add(turn, 10**6, 0)
    return made


# -- whose, and how long ---------------------------------------------------------------------------------------------


def test_each_user_name_and_model_has_a_session_of_its_own() -> None:
    sessions = Sessions()
    keys = [(1, "a", "/m"), (1, "b", "/m"), (2, "a", "/m"), (1, "a", "/n"), (None, "a", "/m")]
    made = [sessions.open(*key, 10, DAY) for key in keys]
    assert len(set(map(id, made))) == len(keys)
    assert [sessions.open(*key, 10, DAY) for key in keys] == made
    assert sessions.of(2) == [made[2]]
    assert sessions.of(3) == []


def test_the_one_used_longest_ago_goes_when_there_are_too_many() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    for name in ("a", "b", "c"):
        clock.now += 1
        sessions.open(1, name, "/m", 3, DAY)
    sessions.open(2, "of another user", "/m", 3, DAY)
    clock.now += 1
    sessions.open(1, "a", "/m", 3, DAY)
    sessions.open(1, "d", "/m", 3, DAY)
    assert sorted(item.name for item in sessions.of(1)) == ["a", "c", "d"]
    assert len(sessions.of(2)) == 1


def test_a_session_that_nobody_uses_is_forgotten_and_its_words_with_it() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    old = sessions.open(1, "old", "/m", 10, 60)
    old.add(Turn("secret", "answer"), 1000, clock.now)
    clock.now += 61
    sessions.open(1, "new", "/m", 10, 60)
    assert [item.name for item in sessions.of(1)] == ["new"]
    assert old.turns == []
    clock.now += 10**9
    sessions.expire(0)
    assert len(sessions.of(1)) == 1, "0: never"


def test_what_is_dropped_stays_so_although_a_run_of_it_ends_later() -> None:
    sessions = Sessions()
    running = sessions.open(1, "a", "/m", 10, DAY)
    assert sessions.drop(2, "a") == []
    assert sessions.drop(1, "a") == [running]
    running.add(Turn("late", "answer"), 1000, 0)
    assert running.turns == []
    assert sessions.open(1, "a", "/m", 10, DAY) is not running


# -- the next daemon -------------------------------------------------------------------------------------------------


def test_the_next_daemon_goes_on_with_what_was_said(tmp_path: Path) -> None:
    clock, calendar = Clock(), Clock()
    calendar.now = 1_800_000_000.0
    with opened(tmp_path) as store:
        sessions = Sessions(clock, KeptSessions(store), calendar)
        talk = sessions.open(1, "a", "/m", 10, DAY)
        sessions.open(1, "nothing was said", "/m", 10, DAY)
        of_daemon = sessions.open(None, "a", "/m", 10, DAY)
        talk.learn(700, 100)
        for number in range(4):
            clock.now += 10
            calendar.now += 10
            sessions.add(talk, Turn(f"{number}", "x" * 99, thinking=True, special=number == 3), 250)
        sessions.add(of_daemon, Turn("q", "a"), 250)
        dropped = sessions.open(1, "dropped", "/m", 10, DAY)
        sessions.add(dropped, Turn("q", "a"), 250)
        sessions.drop(1, "dropped")
        sessions.add(dropped, Turn("late", "a"), 250)
    clock.now = 5.0
    calendar.now += 100
    with opened(tmp_path) as store:
        sessions = Sessions(clock, KeptSessions(store), calendar)
        assert [(item.user, item.name) for item in sessions.all] == [(1, "a"), (None, "a")]
        again = sessions.open(1, "a", "/m", 10, DAY)
        assert again.turns == talk.turns
        assert again.turns[-1] == Turn("3", "x" * 99, True, True)
        assert (again.dropped_turns, again.bytes_per_token, again.made_at) == (2, 7.0, 5.0 - 140)
        new = sessions.open(1, "new", "/m", 10, DAY)
        assert new.number not in {item.number for item in sessions.all if item is not new}
        sessions.expire(60)
        assert sessions.of(None) == [], "it was used longer ago than that"


def test_a_board_whose_clock_was_wrong_forgets_nothing(tmp_path: Path) -> None:
    clock, calendar = Clock(), Clock()
    for now in (1000.0, 1_800_000_000.0, 1_700_000_000.0):
        calendar.now = now
        with opened(tmp_path) as store:
            sessions = Sessions(clock, KeptSessions(store), calendar)
            sessions.expire(DAY)
            talk = sessions.open(1, "a", "/m", 10, DAY)
            sessions.add(talk, Turn("q", "a"), 1000)
    assert len(talk.turns) == 3


# -- telling it again ------------------------------------------------------------------------------------------------


def test_the_oldest_turns_are_not_told_where_the_context_is_too_short() -> None:
    talk = session(*(Turn(f"question {number}", "x" * 100) for number in range(10)))
    assert [turn.question for turn in talk.turns_that_fit(4, 150)] == ["question 8", "question 9"], "about 450 bytes"
    assert talk.turns_that_fit(10_000, 150) == [], "what is too long alone is the runtime's to judge"
    assert len(talk.turns_that_fit(4, 10_000)) == 10
    assert len(talk.turns) == 10, "a longer context may tell them all"


def test_how_long_a_token_is_follows_what_the_runtime_has_read() -> None:
    talk = session(*(Turn(f"question {number}", "x" * 100) for number in range(10)))
    talk.learn(1000, 1000)
    assert talk.turns_that_fit(4, 100) == []
    talk.learn(1000, 0)
    assert talk.bytes_per_token == 1


def test_the_oldest_turns_go_when_the_session_becomes_too_large() -> None:
    talk = session()
    for number in range(10):
        talk.add(Turn(f"{number}", "x" * 99), 350, 7.0)
    assert [turn.question for turn in talk.turns] == ["7", "8", "9"]
    assert (talk.dropped_turns, talk.size_bytes, talk.used_at) == (7, 300, 7.0)
    talk.add(Turn("long", "x" * 1000), 350, 8.0)
    assert [turn.question for turn in talk.turns] == ["long"], "the last one stays, however long"
