"""Which limit is due next, and what the client is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rkllmd.calls import registry
from rkllmd.calls.timeouts import Timeouts
from rkllmd.config.settings import Config
from rkllmd.config.sources import load
from rkllmd.config.values import ConfigError
from rkllmd.npu.deadlines import Deadlines, Step, error_for, next_look, next_step
from rkllmd.npu.job import Job
from rkllmd.wire.members import parse

METHODS = registry.discover()
LOAD = {"rkllm.init": 900_000}
LIMITS = Deadlines(wait=1, first=10, between=2, hard_first=100, hard_between=20, load=1000, grace=5)


def job(state: str = "running", *, token_at: float | None = None, deadlines: Deadlines | None = LIMITS) -> Job:
    """Return a job that was queued at 1000 and started at 2000."""
    made = Job("rkllm.run", lambda: None, lambda result: None, deadlines=deadlines)
    made.state, made.queued_at, made.started_at = state, 1000.0, 2000.0
    if token_at is not None:
        made.progressed_at = lambda: token_at
    return made


def of(method: str, config: Config | None = None, **members: Any) -> Deadlines:
    return Timeouts(config or Config(), METHODS).of(METHODS[method], parse(members))


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


def test_each_method_has_the_configured_limit_or_the_default() -> None:
    config = Config(timeouts_ms={**LOAD, "default": 7000, "rknn.run": 500, "rkllm.run": 3000}, wait_timeout_ms=900)
    assert of("rknn.run", config).first == of("rknn.run", config).hard_first == 0.5
    assert of("rknn.outputs_get", config).between == 7
    assert of("rkllm.run", config).between == 3
    assert of("rkllm.run", config).first == 1800, "a first token is another matter"
    assert of("rkllm.run_async", config).between == 60
    assert of("rkllm.init", config).wait == 0.9


def test_zero_is_no_limit() -> None:
    config = Config(timeouts_ms={**LOAD, "default": 0}, first_token_timeout_ms=0, token_timeout_ms=0)
    assert of("rknn.run", config).first == of("rkllm.run", config).first == of("rkllm.run", config).between == math.inf
    assert of("rknn.run", config).wait == math.inf


def test_a_call_has_what_it_asks_for_and_the_configuration_tells_a_stuck_npu() -> None:
    asked = of("rknn.run", timeout_ms=250, wait_timeout_ms=30)
    assert (asked.wait, asked.first, asked.between) == (0.03, 0.25, 0.25)
    assert (asked.hard_first, asked.grace) == (60, 10)
    assert of("rkllm.run", timeout_ms=250).first == 0.25
    both = of("rkllm.run", timeout_ms=250, first_token_timeout_ms=9000)
    assert (both.first, both.between) == (9, 0.25)
    assert of("rkllm.run", first_token_timeout_ms=9000).between == 60
    assert of("rkllm.run", priority="low") is not None


def test_a_call_may_ask_for_less_time_than_the_configuration_gives_and_not_for_more() -> None:
    """Otherwise whoever asks for a week keeps a stuck NPU from being detected."""
    assert of("rknn.run", timeout_ms=120_000) == of("rknn.run")
    assert of("rkllm.run", timeout_ms=120_000, first_token_timeout_ms=10**8) == replace(of("rkllm.run"), first=1800)
    endless = Config(timeouts_ms={"default": 0, "rkllm.init": 0})
    assert of("rknn.run", endless, timeout_ms=120_000).first == 120


def test_a_call_that_waits_for_a_load_has_the_time_of_a_load_and_its_own_after_that() -> None:
    call = job()
    call.phase_at, call.is_loading = 2005.0, True
    assert next_step(call) == (3005, Step.LIMIT)
    call.phase_at, call.is_loading = 2500.0, False
    assert next_step(call) == (2510, Step.LIMIT)


def test_short_limits_are_not_looked_at_all_the_time() -> None:
    assert next_look(job(token_at=0.0, deadlines=replace(LIMITS, between=0.001)), 2001) == 2001.05


def test_what_the_daemon_does_itself_may_hang_as_well() -> None:
    own = Timeouts(Config(wait_timeout_ms=5), METHODS).own
    assert (own.wait, own.first, own.hard_first, own.load) == (math.inf, 60, 60, 900)


def test_a_limit_for_a_method_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no method 'rkllm\.rum'; did you mean rkllm\.run\?"):
        Timeouts(Config(timeouts_ms={"default": 1, "rkllm.rum": 1}), METHODS)


def test_limits_add_to_the_defaults(tmp_path: Any) -> None:
    """In a file with or without quotes around the name; elsewhere as pairs."""
    file = tmp_path / "rkllmd.toml"
    for text in ('[timeouts_ms]\n"rknn.run" = 5\ndefault = 6\n', "timeouts_ms.rknn.run = 5\ntimeouts_ms.default = 6\n"):
        file.write_text(text)
        config = load({}, {}, file)
        assert (config.timeouts_ms["rknn.run"], config.timeouts_ms["default"]) == (5, 6)
        assert config.timeouts_ms["rkllm.init"] == 900_000
    assert load({"RKLLM_TIMEOUTS_MS": "rknn.run=5:default=6"}, {}, file).timeouts_ms == config.timeouts_ms


@pytest.mark.parametrize("value", ["rknn.run", "rknn.run=x", "rknn.run=-1", 5, {"rknn.run": True}, {"rknn.run": 2**40}])
def test_what_is_no_table_of_limits_is_an_error(value: Any) -> None:
    with pytest.raises(ConfigError, match="timeouts_ms"):
        load({}, {"timeouts_ms": value})


def test_a_method_without_its_limit_is_told_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match="method=milliseconds, separated by ':'"):
        load({}, {"timeouts_ms": "rknn.run"})
