"""How long calls still take: by what was seen before, and by what is seen now."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rkllmd.npu import turns
from rkllmd.npu.job import Arrival, Job
from rkllmd.npu.load import Load
from rkllmd.npu.times import estimates
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.times.estimates import Pace, Progress
from rkllmd.npu.turns import Models

USUAL = Pace(first_token=100, token=10, tokens=40)


def job(method: str = "rkllm.run", model_name: str = "m", **more: Any) -> Job:
    started_at = more.pop("started_at", 0.0)
    made = Job(method, lambda: None, lambda _: None, model_name=model_name, **more)
    made.started_at = started_at
    return made


def generating(
    *, tokens: int, first: float = 0.0, last: float = 0.0, most: int = 0, started_at: float = 0.0, path: str = "m"
) -> Job:
    """Return a run that has begun at ``started_at``; its tokens came from ``first`` to ``last``, all in seconds."""
    generation = SimpleNamespace(
        started_at=started_at,
        first_token_at=first if tokens else None,
        last_at=last,
        tokens=tokens,
    )
    made = job(model_name=path, target=SimpleNamespace(path=path), most_tokens=most, started_at=started_at)
    made.generation = cast(Any, generation)
    return made


def learned(first: float = 100, token: float = 10, tokens: int = 40, model: str = "m") -> Durations:
    past = Durations()
    past.add(estimates.FIRST_TOKEN, model, first)
    past.add(estimates.TOKEN, model, token)
    past.add(estimates.TOKENS, model, tokens)
    past.add("rkllm.run", model, first + tokens * token)
    return past


def waits(past: Durations, running: Job | None, queue: list[Job], now: float) -> list[float | None]:
    """Return how long each of these jobs waits, each of a client of its own."""
    levels = [[deque([item]) for item in queue]]
    wait, lasts = estimates.remaining(past, running, now), estimates.lasts(past, running, now)
    return [found for _, found in turns.foreseen(levels, Models(), now, wait, lasts)]


# A run before it begins


def test_a_run_takes_its_first_token_and_the_others() -> None:
    assert estimates.of_run(USUAL, 0) == 100 + 40 * 10, "its end is a token too"
    assert estimates.of_run(USUAL, 5) == 100 + 4 * 10, "no more tokens than it may have"
    assert estimates.of_run(USUAL, 400) == 100 + 40 * 10, "as long as usual"
    assert estimates.of_run(USUAL, 1) == 100


def test_a_run_of_a_model_that_nobody_has_seen_is_not_guessed() -> None:
    assert estimates.of_run(Pace(), 60) is None
    assert estimates.of_run(Pace(first_token=100, tokens=40), 0) is None
    assert estimates.of_run(Pace(first_token=100, token=10), 0) is None, "it may go on for ever"
    assert estimates.of_run(Pace(first_token=100, token=10), 60) == 100 + 59 * 10


# A run that is on


def left(pace: Pace, run: Progress) -> float | None:
    return estimates.left_of_run(estimates.pace_now(pace, run), run)


def test_the_speed_is_that_of_now() -> None:
    """60 tokens at 2 tokens a second, of a model whose answers took half a second until now."""
    usual = Pace(first_token=50, token=7, tokens=60)
    run = Progress(elapsed=5500, tokens=11, first_token=500, last_token=5500, most_tokens=60)
    assert left(usual, run) == pytest.approx(49 * 500)


def test_a_speed_that_is_seen_needs_no_past() -> None:
    run = Progress(elapsed=5500, tokens=11, first_token=500, last_token=5500, most_tokens=60)
    assert left(Pace(), run) == pytest.approx(49 * 500)
    assert left(Pace(), Progress(5500, 11, 500, 5500)) is None, "nobody knows where it ends"


def test_a_part_of_the_next_token_is_over() -> None:
    assert left(USUAL, Progress(elapsed=205, tokens=11, first_token=100, last_token=200)) == pytest.approx(30 * 10 - 5)


def test_a_token_that_is_late_slows_the_others() -> None:
    run = Progress(elapsed=1200, tokens=11, first_token=100, last_token=200, most_tokens=40)
    assert left(USUAL, run) == pytest.approx(28 * 100), "the next one is over already"


def test_after_one_token_the_speed_is_that_of_before_unless_the_second_is_late() -> None:
    assert left(USUAL, Progress(elapsed=100, tokens=1, first_token=100, last_token=100)) == pytest.approx(40 * 10)
    assert left(USUAL, Progress(elapsed=600, tokens=1, first_token=100, last_token=100)) == pytest.approx(39 * 500)


def test_before_the_first_token() -> None:
    assert left(USUAL, Progress(elapsed=60)) == pytest.approx(40 + 40 * 10)
    assert left(USUAL, Progress(elapsed=60, most_tokens=11)) == pytest.approx(40 + 10 * 10)
    assert left(USUAL, Progress(elapsed=1000)) == pytest.approx(500 + 40 * 10), "a long prompt"


def test_an_answer_that_is_longer_than_usual_goes_on_up_to_its_limit() -> None:
    run = Progress(elapsed=1100, tokens=100, first_token=110, last_token=1100)
    assert left(USUAL, run) == pytest.approx(51 * 10)
    assert left(USUAL, Progress(1100, 100, 110, 1100, most_tokens=110)) == pytest.approx(10 * 10)
    assert left(USUAL, Progress(1100, 100, 110, 1100, most_tokens=100)) == 0


# The calls of the daemon


def test_waits_add_up() -> None:
    past = Durations()
    past.add("rkllm.run", "m", 1000)
    past.add("rknn.run", "v", 50)
    running, queue = job(started_at=99.6), [job("rknn.run", "v"), job(), job()]
    assert waits(past, running, queue, now=100.0) == [600.0, 650.0, 1650.0]
    assert waits(past, None, queue, now=100.0) == [0.0, 50.0, 1050.0]
    assert waits(past, job(started_at=0.0), queue[:1], now=100.0) == [50_000.0], "it takes longer than ever"


def test_what_is_not_known_is_not_guessed() -> None:
    past = Durations()
    past.add("rkllm.run", "m", 1000)
    queue = [job(), job("rkllm.load_lora"), job(), job()]
    assert waits(past, None, queue, now=0.0) == [0.0, 1000.0, None, None]
    assert waits(past, job("rkllm.init"), queue, now=0.0) == [None] * 4


def test_the_wait_behind_a_run_that_is_slower_than_ever() -> None:
    """The right value where the estimate was 0.46 s: 30 s."""
    past = learned(first=50, token=7, tokens=60)
    running = generating(tokens=3, first=0.5, last=1.5, most=60)
    (told,) = waits(past, running, [job()], now=1.5)
    assert told == pytest.approx(28_500)


def test_calls_on_the_same_model_behind_it_are_as_slow() -> None:
    past = learned(first=50, token=7, tokens=60)
    running = generating(tokens=3, first=0.5, last=1.5, most=60)
    queue = [job(most_tokens=10), job("rkllm.run_async", most_tokens=0), job()]
    assert waits(past, running, queue, now=1.5) == [28_500, 28_500 + 50 + 9 * 500, 33_050 + 50 + 60 * 500]


def test_calls_on_another_model_are_as_fast_as_ever() -> None:
    past = learned(first=50, token=7, tokens=60)
    for what, value in ((estimates.FIRST_TOKEN, 10), (estimates.TOKEN, 1), (estimates.TOKENS, 5)):
        past.add(what, "other", value)
    running = generating(tokens=3, first=0.5, last=1.5, most=60)
    queue = [job(model_name="other", most_tokens=0), job()]
    assert waits(past, running, queue, now=1.5) == [28_500, 28_515]


def test_a_run_that_waits_for_its_model_or_has_no_tokens_goes_by_its_method() -> None:
    past = learned()
    past.add("rkllm.run", "e", 70)
    assert estimates.remaining(past, job(model_name="e"), now=0.02) == pytest.approx(50)
    assert estimates.remaining(past, job(most_tokens=11), now=0.02) == pytest.approx(80 + 100), "no generation yet"
    assert estimates.remaining(past, None, now=0.02) == 0.0


def test_what_a_run_teaches() -> None:
    past = Durations()
    run: Any = SimpleNamespace(
        mode=0,
        started_at=1.0,
        first_token_at=1.5,
        last_at=3.5,
        tokens=5,
        abort_requested=False,
        paused=False,
    )
    keys = (estimates.FIRST_TOKEN, estimates.TOKEN, estimates.TOKENS)

    def known() -> list[float | None]:
        return [past.known(key, "m") for key in keys]

    run.first_token_at = None
    estimates.learn(past, "m", run)
    assert known() == [None, None, None]
    run.first_token_at, run.abort_requested = 1.5, True
    estimates.learn(past, "m", run)
    assert known() == [500, 500, None], "an answer that was cut off says nothing about lengths"
    run.abort_requested = False
    estimates.learn(past, "m", run)
    assert known() == [500, 500, 5]
    run.mode, run.tokens = 1, 1
    estimates.learn(past, "m", run)
    assert known() == [500, 500, 5], "hidden states are no answer"


# Loads of models that sleep


class Target:
    """A model that sleeps."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_asleep = True


def asleep(path: str = "m", **more: Any) -> Job:
    """Return a run for a model that sleeps."""
    target = Target(path)
    return job(model_name=path, target=target, most_tokens=0, arrives=lambda: Arrival(target, []), **more)


def test_a_call_for_a_model_that_sleeps_takes_the_time_of_its_load_as_well() -> None:
    past = learned()
    past.add(estimates.LOAD, "m", 7000)
    first, second = asleep(), asleep()
    second.target = first.target
    assert waits(past, None, [first, second, job()], now=0.0) == [0.0, 7500.0, 8000.0], "it is loaded once"


def test_a_load_that_was_never_seen_is_not_guessed() -> None:
    assert waits(learned(), None, [asleep(), job()], now=0.0) == [0.0, None]


def test_behind_a_call_whose_model_is_being_loaded() -> None:
    past = learned()
    past.add(estimates.LOAD, "m", 7000)
    running = asleep(started_at=10.0)
    running.is_loading, running.phase_at = True, 11.0
    assert waits(past, running, [job()], now=13.0) == [pytest.approx(5000 + 500)]
    running.is_loading, running.phase_at, running.target.is_asleep = False, 18.0, False  # type: ignore[attr-defined]
    assert waits(past, running, [job()], now=18.05) == [pytest.approx(50 + 400)], "its own time begins then"


def loading(displaces: list[object] | None, **more: Any) -> Job:
    return job("rkllm.init", load=Load(""), arrives=lambda: Arrival("m", displaces), **more)


def test_a_load_of_what_is_loaded_already_takes_no_time() -> None:
    past = learned()
    past.add(estimates.LOAD, "m", 7000)
    past.add("rkllm.init", "m", 1)
    assert waits(past, None, [loading(None), job()], now=0.0) == [0.0, 0.0]
    assert waits(past, None, [loading([]), job()], now=0.0) == [0.0, 7000.0]
    assert waits(past, loading([], started_at=10.0), [job()], now=12.0) == [5000.0]


def test_a_load_by_a_link_takes_the_time_of_the_file_that_it_leads_to() -> None:
    past = learned()
    past.add(estimates.LOAD, "m", 7000)
    waiting = loading([])
    waiting.model_name = "link"
    assert estimates.known_load(past, waiting) == 7000
    assert waits(past, None, [waiting, job()], now=0.0) == [0.0, 7000.0]
