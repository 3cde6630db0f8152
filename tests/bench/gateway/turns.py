"""Twenty turns by the openai client, where a token takes 15 ms to be read: the time to the first one of a late turn."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, Final

import openai

from tests.bench.measure import NO_TRACE
from tests.daemon import Daemon
from tests.gateway.process import gateway

TURNS: Final = 20
_TOKEN_US: Final = 15_000
_QUESTION: Final = "What is an NPU?"
# Of the turns that are measured.
_LAST: Final = 3


def measure(folder: Path) -> tuple[float, float]:
    """Return the seconds to the first token of the last turns (a median), and what their own words alone take."""
    scenario = f"text=ok;prefill_token_us={_TOKEN_US}"
    with Daemon(folder, scenario=scenario, environ=NO_TRACE) as daemon:
        daemon.load()
        with (
            gateway(daemon.path, folder) as address,
            openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
        ):
            messages: list[Any] = [{"role": "system", "content": "Be brief. " * 10}]
            firsts = [_turn(client, messages) for _ in range(TURNS)]
    return statistics.median(firsts[-_LAST:]), len(_QUESTION) * _TOKEN_US / 1e6


def _turn(client: openai.OpenAI, messages: list[Any]) -> float:
    messages.append({"role": "user", "content": _QUESTION})
    began, first, said = time.perf_counter(), 0.0, ""
    for chunk in client.chat.completions.create(model="model", messages=messages, stream=True):
        if text := chunk.choices[0].delta.content:
            first = first or time.perf_counter() - began
            said += text
    messages.append({"role": "assistant", "content": said})
    return first
