"""The parts are made with what the configuration says, also where a runtime is missing, and a reload changes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.config.values import ConfigError
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.service import assembly
from tests.service.services import assembled


async def test_the_parts_know_each_other() -> None:
    async with assembled(max_queue=7, max_calls_per_connection=3, max_calls_per_user=5) as service:
        assert service.npu.queue.limits == Limits(7, 3, 5)
        assert service.language.npu is service.vision.npu is service.npu
        assert service.clients is service.language.clients
        assert service.detached_calls is service.language.detached_calls
        assert service.language.board is service.vision.board
        assert {"rkllm.run", "rknn.infer", "server.status"} <= service.methods.keys()


async def test_a_runtime_that_is_missing_is_no_reason_not_to_serve() -> None:
    async with assembled(rkllm_library="/nowhere", rknn_library="/nowhere") as service:
        assert not service.language.runtime.is_usable
        assert not service.vision.runtime.is_usable
        assert "server.status" in service.methods


async def test_a_limit_for_a_method_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"there is no method 'rkllm\.rum'"):
        assembly.assemble(
            Config(runtime="simulator", timeouts_ms={"default": 1, "rkllm.rum": 1}),
            Queue(Limits(1, 1, 1)),
            printed=-1,
            when_handled=lambda function: function(),
            on_outage=lambda _: None,
            on_given_up=lambda _: None,
            pid=os.getpid(),
        )


@pytest.mark.parametrize(
    ("setting", "rkllm", "rknn", "seconds"),
    [
        ("always", "vendor", "vendor", 0.5),
        ("never", "portable", "portable", 0.0),
        ("auto", "portable", "portable", 0.5),
        ("auto", "simulator", "simulator", 0.5),
        ("auto", "vendor", "portable", 0.0),
        ("auto", "portable", "vendor", 0.0),
    ],
)
def test_vision_between_tokens_is_for_runtimes_that_are_known_to_bear_it(
    setting: str, rkllm: str, rknn: str, seconds: float
) -> None:
    first: Any = SimpleNamespace(name=rkllm)
    second: Any = SimpleNamespace(name=rknn)
    config = Config(between_tokens=setting, between_tokens_ms=500)
    assert assembly._boundary_seconds(config, first, second) == seconds


async def test_a_reload_reaches_the_parts_that_do_not_look_themselves() -> None:
    async with assembled(between_tokens="never") as service:
        service.current.config = replace(
            service.config, max_queue=9, between_tokens="always", between_tokens_ms=250, cache_bytes=2**20
        )
        assembly.apply(service)
        assert service.npu.queue.limits.total == 9
        assert service.npu.boundaries.seconds == 0.25
        assert service.language.prompt_caches.limit_bytes == 2**20


@pytest.mark.parametrize(
    ("line", "lines_count", "is_suspected"),
    [
        ("RKNPU: job timeout, flags: 0x5", True, True),
        ("RKNPU: job timeout, flags: 0x5", False, False),
        ("fine", True, False),
    ],
)
def test_a_line_that_means_a_stuck_npu_is_told_if_lines_count(line: str, lines_count: bool, is_suspected: bool) -> None:
    config = Config(device_lost_lines=lines_count, device_retry_seconds=7)
    suspected: list[Outage] = []
    supervisor: Any = SimpleNamespace(suspect=suspected.append)
    assembly._look_at_line(CurrentConfig(config), supervisor, lambda function: function(), line)
    assert [found.pause for found in suspected] == [7] * is_suspected


def test_a_last_callback_while_the_daemon_leaves_is_dropped() -> None:
    async def token() -> trio.lowlevel.TrioToken:
        return trio.lowlevel.current_trio_token()

    run_soon: Callable[[Callable[[], None]], None] = assembly._run_soon(trio.run(token))
    run_soon(lambda: pytest.fail("nobody is there to call it"))
