"""What the gateway adds to the raw socket: to the first token, to each token, and with many streams at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tests.bench.gateway.http_client import HttpClient
from tests.bench.gateway.together import seconds_together
from tests.bench.measure import NO_TRACE
from tests.daemon import Daemon
from tests.gateway.process import gateway
from tests.wire_connection import Wire

CHAT: Final = "/v1/chat/completions"
STREAMS: Final = 64
# Each token is the moment of its callback, so that a chunk that is lost, doubled or of another stream shows.
_SCENARIO: Final = "text=x ;repeat=1000000;tokens=words;stamp=1;pace_us={}"
_MESSAGES: Final[Any] = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Figures:
    """Seconds, medians: to the first token, and from the callback of a token to its client."""

    first: float
    first_raw: float
    token: float
    token_raw: float


@dataclass(frozen=True)
class Streams:
    """Many streams at once: tokens that came, those that should have, and tokens per second of all together."""

    tokens: int
    expected: int
    doubled: int
    speed: float


def overhead(folder: Path, rounds: int) -> Figures:
    """Return what the same run takes over the raw socket and through the gateway, in turn in one process."""
    scenario = _SCENARIO.format(10_000)
    with (
        Daemon(folder, scenario=scenario, environ=NO_TRACE) as daemon,
        gateway(daemon.path, folder) as address,
        HttpClient(address) as http,
        daemon.connect() as wire,
    ):
        daemon.load(max_new_tokens=0)
        firsts: list[tuple[float, float]] = []
        tokens: list[list[float]] = [[], []]
        for _ in range(rounds):
            runs = [_timed(_raw(wire, 4)), _timed(_chat(http, 4))]
            firsts.append((runs[0][0], runs[1][0]))
            for found, run in zip(tokens, runs, strict=True):
                found += run[1:]
    raw, through = (statistics.median(column) for column in zip(*firsts, strict=True))
    return Figures(through, raw, statistics.median(tokens[1]), statistics.median(tokens[0]))


def _timed(run: Iterator[int]) -> list[float]:
    """Return the seconds from the request to the first token, and of the others those from their callback."""
    began = time.monotonic_ns()
    took: list[float] = []
    for stamp in run:
        now = time.monotonic_ns()
        took.append((now - (stamp if took else began)) / 1e9)
    return took


def _raw(wire: Wire, tokens: int) -> Iterator[int]:
    wire.request("rkllm.run_async", {"messages": _MESSAGES, "max_new_tokens": tokens})
    while True:
        result = wire.receive()["result"]
        if "finish_reason" in result:
            return
        yield int(result["text"])


def _chat(http: HttpClient, tokens: int) -> Iterator[int]:
    http.post(CHAT, {"messages": _MESSAGES, "max_tokens": tokens, "stream": True})
    for event in http.events():
        text = orjson.loads(event)["choices"][0]["delta"].get("content")
        if text:
            yield int(text)


def streams(folder: Path, tokens: int) -> Streams:
    """Let this many clients ask at once, each for this many tokens."""
    scenario = _SCENARIO.format(0)
    found: list[list[int]] = []
    with Daemon(folder, "--max-queue", "100", scenario=scenario, environ=NO_TRACE) as daemon:
        daemon.load(max_new_tokens=0)
        with gateway(daemon.path, folder) as address:

            def ask() -> None:
                with HttpClient(address) as http:
                    found.append(list(_chat(http, tokens)))

            took = seconds_together(STREAMS, ask)
    every = [stamp for stream in found for stamp in stream]
    return Streams(len(every), STREAMS * tokens, len(every) - len(set(every)), len(every) / took)
