"""Some rounds of ``make kills``: the store is readable, no job is lost, none is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills.board import WAYS, Board
from tests.kills.ledger import Job
from tests.kills.power import PowerCuts, must_be_kept

ROUNDS = 10


def test_a_kill_of_the_daemon_of_the_keeper_and_of_both_loses_no_job(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for way in WAYS:
        board.round(way)
    board.close()
    assert board.counts["jobs"] > 0


def test_a_power_cut_at_any_moment_loses_no_job_that_was_promised(tmp_path: Path) -> None:
    power = PowerCuts(tmp_path)
    for _ in range(ROUNDS):
        power.round()
    power.close()
    assert power.counts["jobs in the images"] > 0
    assert power.counts["power cuts after which a daemon did the rest"] == 1
    # The next rounds of a store that is empty, which would be no proof, fail.
    image = tmp_path / "empty"
    image.mkdir()
    with pytest.raises(AssertionError, match="lost"):
        must_be_kept(image, {"id": Job(1, retry=False)})


def test_a_job_that_was_done_twice_is_seen() -> None:
    done = {"status": "completed", "result": {"finish_reason": "stop", "text": f"[user] {Job(7, False).prompt}"}}
    assert Job(7, retry=False).must_fit(done, 1) == "completed"
    assert Job(7, retry=True).must_fit(done, 2) == "completed"
    for runs in (0, 2):
        with pytest.raises(AssertionError, match=f"given to C {runs} times"):
            Job(7, retry=False).must_fit(done, runs)
    crashed = {"status": "error", "error": {"data": {"kind": "Crashed", "begun": 1}}}
    assert Job(7, retry=False).must_fit(crashed, 0) == "crashed"
    with pytest.raises(AssertionError, match="given to C 2 times"):
        Job(7, retry=False).must_fit(crashed, 2)
