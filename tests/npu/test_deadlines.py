"""Which limit is due next, and what the client is told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rkllmd.npu.deadlines import Deadlines, Step, error_for, next_look, next_step
from rkllmd.npu.job import Job

LIMITS = Deadlines(wait=1, first=10, between=2, hard_first=100, hard_between=20, load=1000, grace=5)


def job(state: str = "running", *, token_at: float | None = None, deadlines: Deadlines | None = LIMITS) -> Job:
    """Return a job that was queued at 1000 and started at 2000."""
    made = Job("rkllm.run", lambda: None, lambda result: None, deadlines=deadlines)
    made.state, made.queued_at, made.started_at = state, 1000.0, 2000.0
    if token_at is not None:
        made.progressed_at = lambda: token_at
    return made


def test_a_job_without_limits_is_never_due() -> None:
    for state in ("new", "queued", "running", "finished"):
        assert next_step(job(state, deadlines=None))[0] == math.inf


def test_the_steps_of_a_call_that_does_not_return() -> None:
    call = job("queued")
    assert next_step(call) == (1001, Step.WAIT)
    call.state = "running"
    assert next_step(call) == (2010, Step.LIMIT)
    call.timeout, call.expired_at = error_for(call, Step.LIMIT, 2010), 2010
    assert next_step(call) == (2015, Step.GRACE)
    call.answered = True
    assert next_step(call) == (2105, Step.HARD)
    call.state = "finished"
    assert next_step(call)[0] == math.inf


def test_a_generation_has_its_time_for_each_token_anew() -> None:
    assert next_step(job(token_at=0.0)) == (2010, Step.LIMIT)
    assert next_step(job(token_at=2003.0)) == (2005, Step.LIMIT)
    assert next_step(job(token_at=2500.0)) == (2502, Step.LIMIT)


def test_before_its_first_token_a_generation_is_looked_at_for_signs_of_life() -> None:
    run = job(token_at=0.0, deadlines=replace(LIMITS, lifeless=6))
    assert next_step(run) == (2003, Step.SIGNS)
    run.note_signs(1.0, 2003.5)
    assert next_step(run) == (2006.5, Step.SIGNS)
    run.note_signs(2.0, 2008.0)
    assert next_step(run) == (2010, Step.LIMIT)
    assert next_step(job(token_at=2001.0, deadlines=replace(LIMITS, lifeless=6))) == (2003, Step.LIMIT)
    assert next_step(job(deadlines=replace(LIMITS, lifeless=6))) == (2010, Step.LIMIT), "it is no generation"
    run.is_loading, run.phase_at = True, 2009.0
    assert next_step(run) == (3009, Step.LIMIT), "what loads has the time of a load"


def test_no_progress_moves_the_end_of_a_whole_run_on() -> None:
    limits = replace(LIMITS, whole=7)
    assert next_step(job(token_at=2004.0, deadlines=limits)) == (2006, Step.LIMIT)
    assert next_step(job(token_at=2006.5, deadlines=limits)) == (2007, Step.WHOLE)
    assert next_step(job(deadlines=limits)) == (2007, Step.WHOLE)
    run = job(token_at=2006.5, deadlines=limits)
    run.phase_at = 2003.0
    assert next_step(run) == (2008.5, Step.LIMIT), "it counts from the end of its model's load"
    error = error_for(job(deadlines=limits), Step.WHOLE, 2007.5)
    assert error.data == {"limit_ms": 7000, "elapsed_ms": 7500.0}


def test_a_generation_is_looked_at_before_its_first_token_is_due() -> None:
    """Once it comes the next one is due earlier than the first would have been."""
    assert next_look(job(token_at=0.0), 2001) == 2003
    assert next_look(job(), 2001) == 2010
    assert next_look(job("queued", token_at=0.0), 1000) == 1001


@pytest.mark.parametrize(
    ("made", "step", "now", "words", "limit", "elapsed"),
    [
        (job("queued"), Step.WAIT, 1001.5, "turn", 1000, 1500),
        (job(), Step.LIMIT, 2011, "rkllm.run took longer than it may (", 10_000, 11_000),
        (job(token_at=0.0), Step.LIMIT, 2010, "first token", 10_000, 10_000),
        (job(token_at=2100.0), Step.LIMIT, 2103, "next token", 2000, 3000),
    ],
    ids=["wait", "call", "first token", "next token"],
)
def test_the_client_is_told_which_limit_and_how_long(
    made: Job, step: Step, now: float, words: str, limit: int, elapsed: float
) -> None:
    error = error_for(made, step, now)
    assert words in error.message
    assert error.data == {"limit_ms": limit, "elapsed_ms": elapsed}


def test_a_call_that_waits_for_a_load_has_the_time_of_a_load_and_its_own_after_that() -> None:
    call = job()
    call.phase_at, call.is_loading = 2005.0, True
    assert next_step(call) == (3005, Step.LIMIT)
    call.phase_at, call.is_loading = 2500.0, False
    assert next_step(call) == (2510, Step.LIMIT)


def test_short_limits_are_not_looked_at_all_the_time() -> None:
    assert next_look(job(token_at=0.0, deadlines=replace(LIMITS, between=0.001)), 2001) == 2001.05
