"""The same simulator behind a plain Flask server and behind daemon and gateway: one client, and several at once."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import openai

from tests.bench.footprint import private_bytes
from tests.bench.gateway.together import seconds_together
from tests.bench.measure import NO_TRACE
from tests.daemon import Daemon, simulator
from tests.gateway.process import gateway

CLIENTS: Final = 4
_SCENARIO: Final = "text=x ;repeat=1000000;tokens=words;pace_us=10000"
# What a token takes of the CPU differs by a third from one answer to the next.
_ANSWERS: Final = 5
# CPUCLOCK_SCHED of Linux: what all threads of a process have used, in nanoseconds.
_ALL_THREADS: Final = 2
# How soon a client that was refused comes again, which the plain server does not say.
_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Side:
    """``first``: seconds to the first token, alone, a median; ``speed``: tokens per second of whole answers.

    ``speed`` is alone, ``speed_together`` of several clients; ``refused``: how often one of them was turned away.
    ``cpu``: of the server's processes, for each token; ``memory``: what they have for themselves, in bytes.
    """

    first: float
    speed: float
    speed_together: float
    refused: int
    cpu: float
    memory: int


def plain(folder: Path, rounds: int, tokens: int) -> Side:
    """Return the figures of the plain server."""
    environ = {**os.environ, **NO_TRACE, "RKLLM_SIMULATOR": _SCENARIO}
    model = folder / "model.rkllm"
    model.touch()
    command = [sys.executable, "-m", "tests.bench.gateway.plain_server", str(simulator()), str(model)]
    with (
        (folder / "plain.log").open("wb") as log,
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        try:
            return _measure(address, [process.pid], rounds, tokens)
        finally:
            process.kill()


def ours(folder: Path, rounds: int, tokens: int) -> Side:
    """Return the figures of daemon and gateway."""
    with Daemon(folder, scenario=_SCENARIO, environ=NO_TRACE) as daemon:
        daemon.load(max_new_tokens=0)
        with _gateway(daemon, folder) as (address, pid):
            return _measure(address, [daemon.process.pid, pid], rounds, tokens)


@contextmanager
def _gateway(daemon: Daemon, folder: Path) -> Iterator[tuple[str, int]]:
    before = _children()
    with gateway(daemon.path, folder) as address:
        [pid] = _children() - before
        yield address, pid


def _children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(word) for word in path.read_text().split()}


def _measure(address: str, pids: list[int], rounds: int, tokens: int) -> Side:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        _ask(client, 2)
        firsts = [_ask(client, 2)[0] for _ in range(rounds)]
        before = sum(map(_cpu_seconds, pids))
        took = [_ask(client, tokens)[1] for _ in range(_ANSWERS)]
        cpu = (sum(map(_cpu_seconds, pids)) - before) / (_ANSWERS * tokens)
    refused: list[int] = []
    together = seconds_together(CLIENTS, lambda: refused.append(_ask_until_served(address, tokens // CLIENTS)))
    return Side(
        statistics.median(firsts),
        tokens / statistics.median(took),
        tokens // CLIENTS * CLIENTS / together,
        sum(refused),
        cpu,
        sum(map(private_bytes, pids)),
    )


def _ask(client: openai.OpenAI, tokens: int) -> tuple[float, float]:
    """Return the seconds to the first token, and to the last one; all must have come."""
    began = time.perf_counter()
    first, last, count = 0.0, 0.0, 0
    messages: Any = [{"role": "user", "content": "Hello"}]
    chunks: Iterable[Any] = client.chat.completions.create(
        model="model", messages=messages, max_tokens=tokens, stream=True
    )
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            last = time.perf_counter() - began
            first = first or last
            count += chunk.choices[0].delta.content.count("x")
    assert count == tokens, f"{count} tokens came, not {tokens}"
    return first, last


def _ask_until_served(address: str, tokens: int) -> int:
    """Return how often the client was refused before."""
    refused = 0
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        while True:
            try:
                _ask(client, tokens)
            except openai.APIStatusError:
                refused += 1
                time.sleep(_AGAIN_SECONDS)
            else:
                return refused


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used, also in threads that have ended: the plain server has one for each run.

    The clock is that of clock_getcpuclockid(3), which Python does not have. /proc counts in steps of 10 ms, of which a
    stream takes seven.
    """
    return time.clock_gettime(~pid << 3 | _ALL_THREADS)
