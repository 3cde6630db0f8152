"""A client that hangs up frees the NPU at once; a daemon that is full or gone is told as what it is."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.bench.gateway.http_client import HttpClient
from tests.daemon import ENDLESS, Daemon, Start
from tests.gateway.hanging_up import rounds
from tests.gateway.process import gateway

# make fuzz has more.
ROUNDS = int(os.environ.get("RKLLMD_HANG_UPS", "50"))
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def endless(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    """Return a daemon whose runs go on until they are ended, and where its gateway is."""
    daemon = _endless(start_for_module)
    with gateway(daemon.path, tmp_path_factory.mktemp("gateway")) as address:
        yield daemon, address


def _endless(start: Start, *arguments: str) -> Daemon:
    daemon = start(*arguments, scenario=ENDLESS)
    daemon.load(max_new_tokens=1_000_000_000)
    return daemon


def test_a_client_that_hangs_up_frees_the_npu(endless: tuple[Daemon, str]) -> None:
    daemon, address = endless
    ended = daemon.calls("rkllm_run_async", "finished")
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        with client.chat.completions.create(model="model", messages=HELLO, stream=True) as stream:
            next(stream)
        daemon.wait_finished(ended + 1)


def test_so_does_one_that_waits_for_a_whole_answer(endless: tuple[Daemon, str]) -> None:
    daemon, address = endless
    begun, ended = daemon.calls("rkllm_run_async"), daemon.calls("rkllm_run_async", "finished")
    with HttpClient(address) as raw:
        raw.post("/v1/chat/completions", {"messages": HELLO})
        daemon.wait_enter("rkllm_run_async", begun + 1)
    daemon.wait_finished(ended + 1)


def test_the_npu_is_free_after_each_of_many_who_hang_up(endless: tuple[Daemon, str]) -> None:
    daemon, address = endless
    assert len(rounds(daemon, address, ROUNDS, random.Random(14))) == ROUNDS
    daemon.wait_finished(daemon.calls("rkllm_run_async"))


def test_a_full_queue_says_when_to_come_again(start: Start, tmp_path: Path) -> None:
    daemon = _endless(start, "--max-queue", "1")
    asked = {"messages": HELLO, "stream": True}
    with gateway(daemon.path, tmp_path) as address, httpx.Client(base_url=address, timeout=60) as http:
        with http.stream("POST", "/v1/chat/completions", json=asked) as running:
            assert next(running.iter_lines()).startswith("data: ")
            with ExitStack() as waiting:
                found = [
                    waiting.enter_context(http.stream("POST", "/v1/chat/completions", json=asked)) for _ in range(3)
                ]
                refused = found[-1]
                refused.read()
        daemon.wait_finished(1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after-ms"]) > 0


def test_a_daemon_that_is_gone_is_unavailable(endless: tuple[Daemon, str]) -> None:
    daemon, address = endless
    daemon.stop()
    with httpx.Client(base_url=address, timeout=60) as http:
        found = [http.get(path) for path in ("/health", "/ready", "/v1/models", "/metrics")]
        found.append(http.post("/v1/chat/completions", json={"messages": HELLO}))
        found.append(http.post("/rpc", json={}))
    assert [answer.status_code for answer in found] == [503] * 6
    assert not any(daemon.path in answer.text for answer in found)
