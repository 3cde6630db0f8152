"""Which limits of time a call has: those of the configuration, and what it asks for itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rkllmd.calls import registry
from rkllmd.calls.timeouts import Timeouts, check
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.config.values import ConfigError
from rkllmd.npu.deadlines import Deadlines
from rkllmd.wire.members import NO_MEMBERS, parse

METHODS = registry.discover()
LOAD = {"rkllm.init": 900_000}


def of(method: str, config: Config | None = None, **members: Any) -> Deadlines:
    return Timeouts(CurrentConfig(config or Config())).of(METHODS[method], parse(members))


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
    assert of("rkllm.run", wait_timeout_ms=30).first == 1800
    assert of("rkllm.run", priority="low") == of("rkllm.run")


def test_a_call_may_ask_for_less_time_than_the_configuration_gives_and_not_for_more() -> None:
    """Otherwise whoever asks for a week keeps a stuck NPU from being detected."""
    assert of("rknn.run", timeout_ms=120_000) == of("rknn.run")
    assert of("rkllm.run", timeout_ms=120_000, first_token_timeout_ms=10**8) == replace(of("rkllm.run"), first=1800)
    endless = Config(timeouts_ms={"default": 0, "rkllm.init": 0})
    assert of("rknn.run", endless, timeout_ms=120_000).first == 120


def test_a_whole_run_is_bounded_by_both() -> None:
    config = Config(run_timeout_ms=5000)
    assert (of("rkllm.run", config).whole, of("rkllm.run_async", config, run_timeout_ms=700).whole) == (5, 0.7)
    assert of("rkllm.run", config, run_timeout_ms=9000).whole == 5
    assert of("rkllm.run", Config(run_timeout_ms=0)).whole == math.inf
    assert of("rknn.run", config).whole == math.inf, "its timeout_ms is one already"
    assert of("rknn.run", config, run_timeout_ms=700).whole == 0.7


def test_only_a_generation_is_looked_at_for_signs_of_life() -> None:
    assert (of("rkllm.run").lifeless, of("rknn.run").lifeless) == (300, math.inf)
    assert of("rkllm.run", Config(no_progress_seconds=0)).lifeless == math.inf


def test_what_the_daemon_does_itself_may_hang_as_well() -> None:
    own = Timeouts(CurrentConfig(Config(wait_timeout_ms=5))).own()
    assert (own.wait, own.first, own.hard_first, own.load) == (math.inf, 60, 60, 900)
    endless = Timeouts(CurrentConfig(Config(timeouts_ms={"default": 0}))).own()
    assert (endless.first, endless.hard_between, endless.load) == (math.inf, math.inf, math.inf)


def test_a_reload_counts_for_calls_that_come_after_it() -> None:
    current = CurrentConfig(Config())
    timeouts = Timeouts(current)
    assert (timeouts.of(METHODS["rknn.run"], NO_MEMBERS).first, timeouts.own().first) == (60, 60)
    current.config = Config(timeouts_ms={"default": 7000})
    assert (timeouts.of(METHODS["rknn.run"], NO_MEMBERS).first, timeouts.own().first) == (7, 7)


def test_a_limit_for_a_method_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no method 'rkllm\.rum'; did you mean rkllm\.run\?"):
        check(Config(timeouts_ms={"default": 1, "rkllm.rum": 1}), METHODS)
