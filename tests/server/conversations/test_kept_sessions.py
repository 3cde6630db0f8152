"""A conversation goes on with the next daemon, however the one before has ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.daemon import Start
from tests.server.conversations.talking import listed, say
from tests.server.jobs.submitting import submit


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_turn_knows_the_earlier_ones(start: Start, tmp_path: Path, end: int) -> None:
    state, place = tmp_path / "state", tmp_path / "place"
    state.mkdir()
    first = start("--state-directory", str(state), directory=place)
    first.load(max_new_tokens=0)
    with first.connect() as wire:
        for name, prompt in (("a", "one"), ("a", "two"), ("b", "other")):
            say(wire, name, prompt)
        # Its answer comes when it, and all that was written before it, is on the disk.
        submit(wire, "server.drop_session", {"name": "b"})
    first.stop(end)
    second = start("--state-directory", str(state), directory=place)
    second.load(max_new_tokens=0)
    with second.connect() as wire:
        found = listed(wire)
        assert (found["a"]["turns"], found["a"]["in_kv_cache"]) == (2, False)
        third = say(wire, "a", "three")
        assert third["session"] == {"name": "a", "turns": 3, "replayed_turns": 2}
        assert [word in third["text"] for word in ("one", "two", "three", "other")] == [True, True, True, False]
        wire.ask("server.drop_session", {"name": "a"})
        wire.ask("server.drop_session", {"name": "b"})
    second.stop()
    third_daemon = start("--state-directory", str(state), directory=place)
    with third_daemon.connect() as wire:
        assert listed(wire) == {}
