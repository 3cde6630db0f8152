"""Whom a call waits for a moment."""

from __future__ import annotations

import pytest

from rkllmd.npu.job import Job
from rkllmd.npu.together.gathering import GATHER_PART, GATHER_SECONDS, Gathering
from tests.npu.jobs import alike, job

NOW = 1000.0


def of(client: str, key: str = "a") -> Job:
    made = job("run", client, together=alike(key, places=3))
    made.queued_at = NOW
    return made


def test_nobody_is_waited_for_at_first() -> None:
    first = of("a")
    assert Gathering().until(first, [first], NOW) == NOW


def test_a_client_that_has_just_had_its_answer_is_expected_until_it_comes() -> None:
    gathering, first = Gathering(), of("a")
    gathering.note_end(of("b"), NOW)
    assert gathering.until(first, [first], NOW) == NOW + GATHER_SECONDS
    assert gathering.until(first, [first, of("b")], NOW) == NOW
    assert gathering.until(first, [first], NOW + GATHER_SECONDS) == NOW + GATHER_SECONDS, "it does not come"


def test_a_short_run_is_not_waited_for_as_long() -> None:
    gathering, first, short = Gathering(), of("a"), of("b")
    short.start(NOW - 0.1)
    gathering.note_end(short, NOW)
    assert gathering.until(first, [first], NOW) == pytest.approx(NOW + 0.1 * GATHER_PART)


def test_a_client_does_not_wait_for_itself() -> None:
    gathering, first = Gathering(), of("a")
    gathering.note_end(of("a"), NOW)
    assert gathering.until(first, [first], NOW) == NOW


def test_a_full_batch_waits_for_nobody() -> None:
    gathering, first = Gathering(), of("a")
    gathering.note_end(of("d"), NOW)
    assert gathering.until(first, [first, of("b")], NOW) > NOW
    assert gathering.until(first, [first, of("b"), of("c")], NOW) == NOW


def test_who_is_gone_has_cancelled_or_asks_something_else_is_not_expected() -> None:
    gathering, first = Gathering(), of("a")
    gathering.note_end(of("b"), NOW)
    gathering.forget("b")
    cancelled = of("c")
    cancelled.cancelled = True
    gathering.note_end(cancelled, NOW)
    gathering.note_end(of("d", key="other"), NOW)
    gathering.note_end(job("alone", "e"), NOW)
    assert gathering.until(first, [first], NOW) == NOW


def test_a_job_that_goes_with_nobody_waits_for_nobody() -> None:
    gathering, first = Gathering(), job("alone", "a")
    gathering.note_end(of("b"), NOW)
    assert gathering.until(first, [first], NOW) == NOW
