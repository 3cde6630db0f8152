"""A queue entry changes by its own methods: what each leaves behind."""

from __future__ import annotations

import time
from typing import Any

from rkllmd.errors import Timeout
from rkllmd.npu.deadlines import Deadlines
from rkllmd.npu.job import UNRESOLVED, Job

LIMITS = Deadlines(1, 1, 1, 1, 1, 1, 1)


def made(**members: Any) -> Job:
    return Job("rkllm.run", lambda: None, lambda _: None, **members)


def test_its_life() -> None:
    job = made(target=UNRESOLVED)
    states = [job.state]
    for step in (job.enqueue, job.take, job.finish):
        step()
        states.append(job.state)
    assert states == ["new", "queued", "running", "finished"]


def test_limits_are_given_once() -> None:
    own = Deadlines(2, 2, 2, 2, 2, 2, 2)
    job = made(deadlines=own)
    job.limit(LIMITS)
    assert job.deadlines is own
    unlimited = made()
    unlimited.limit(LIMITS)
    assert unlimited.deadlines is LIMITS


def test_what_it_is_for_may_be_known_late() -> None:
    job = made(target=UNRESOLVED)
    job.resolve("the model", "/m.rkllm", 7)
    assert (job.target, job.model_name, job.most_tokens) == ("the model", "/m.rkllm", 7)


def test_an_early_answer_is_the_timeout() -> None:
    told: list[object] = []
    job = made(give_up=told.append)
    timeout = Timeout("The call took longer than it may.")
    job.expire(timeout, 5.0)
    assert (job.timeout, job.expired_at, job.answered) == (timeout, 5.0, False)
    job.answer_early()
    assert job.answered
    assert told == [timeout]


def test_it_waits_for_a_load_only_inside() -> None:
    job = made()
    with job.loading():
        assert job.is_loading
        began = job.phase_at
    assert not job.is_loading
    assert job.phase_at >= began > 0


def test_it_can_be_stopped_only_inside() -> None:
    job = made()
    with job.stoppable():
        assert job.abort is not None
        job.cancel()
    assert job.cancelled
    assert job.abort is None


def test_what_can_be_aborted_keeps_its_own_abort() -> None:
    asked: list[str] = []
    job = made(abort=lambda: asked.append("stop"))
    with job.stoppable():
        job.cancel()
    job.cancel()
    assert asked == ["stop", "stop"]


def test_a_generation_gets_on_with_its_tokens() -> None:
    class Generation:
        last_at = 3.0

    generation: Any = Generation()
    job = made(is_generation=True)
    assert job.progressed_at is not None
    assert job.progressed_at() == 0.0
    job.begin(generation)
    assert job.progressed_at() == 3.0
    assert made().progressed_at is None


def test_its_time_and_that_of_its_members_may_begin_anew() -> None:
    member = made()
    job = made(members=[member])
    before = time.monotonic()
    job.begin_anew()
    assert before <= job.phase_at <= time.monotonic()
    assert member.phase_at >= before
