"""Four clients that ask one question after the other: the tokens per second in shared batches, and one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.daemon import Daemon
from tests.wire_connection import streamed

_CLIENTS: Final = 4
_QUESTIONS: Final = ("What is an NPU?", "Hello", "What is bread?", "Tell me a joke.")
_TOKENS: Final = 48
# After this many turns a conversation begins anew.
_TURNS: Final = 4
# A client: on this daemon, which of the four, how often it asks, and where it notes how many tokens it has got.
_Client: TypeAlias = Callable[[Daemon, int, int, list[int]], None]
# A step of a board takes as long for one entry as for four.
_SIMULATED: Final = "text=abc ;repeat=24;tokens=words;batch_step=0;pace_us=20000"


@dataclass(frozen=True)
class Figures:
    """Tokens per second of all clients together."""

    alone: float
    together: float


def simulated(folder: Path, rounds: int) -> Figures:
    """Return the figures of the simulator, where a step has its cost whatever the batch."""
    speeds = []
    for n_batch in (1, _CLIENTS):
        with Daemon(_made(folder, n_batch), "--coalesce", "always", scenario=_SIMULATED) as daemon:
            daemon.load(max_new_tokens=0, extend_param={"n_batch": n_batch})
            # One by one their speed is always the same; in batches, the first one is alone.
            speeds.append(_speed(daemon, rounds if n_batch > 1 else rounds // 4, _ask))
    return Figures(*speeds)


def portable(folder: Path, rounds: int) -> Figures:
    """Return the figures of the portable runtime with the demo model."""
    return _portable(folder, rounds, _ask)


def chats(folder: Path, rounds: int) -> Figures:
    """Return those of conversations, each of which is sent whole with each question.

    One by one, a client begins when the one before it has said all: no conversation takes another's place meanwhile.
    """
    return _portable(folder, rounds, _talk)


def _portable(folder: Path, rounds: int, client: _Client) -> Figures:
    param = {"ignore_eos_token": True, "max_new_tokens": _TOKENS, "max_context_len": 512}
    speeds = []
    for n_batch in (1, _CLIENTS):
        with Daemon(_made(folder, n_batch), runtime="portable") as daemon:
            daemon.load(model_path=str(DEMO_MODEL), extend_param={"n_batch": n_batch}, **param)
            speeds.append(_speed(daemon, rounds, client, at_once=n_batch > 1 or client is _ask))
    return Figures(*speeds)


def _made(folder: Path, n_batch: int) -> Path:
    own = folder / f"n-batch-{n_batch}"
    own.mkdir()
    return own


def _speed(daemon: Daemon, rounds: int, client: _Client, *, at_once: bool = True) -> float:
    tokens: list[int] = []
    threads = [threading.Thread(target=client, args=(daemon, number, rounds, tokens)) for number in range(_CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
        if not at_once:
            thread.join()
    for thread in threads:
        thread.join()
    assert len(tokens) == _CLIENTS * rounds
    return sum(tokens) / (time.perf_counter() - began)


def _ask(daemon: Daemon, number: int, rounds: int, tokens: list[int]) -> None:
    with daemon.connect() as wire:
        for asked in range(rounds):
            params: Any = {"prompt": _QUESTIONS[(number + asked) % len(_QUESTIONS)]}
            wire.request("rkllm.run_async", params)
            tokens.append(len(wire.until_final(1)) - 1)


def _talk(daemon: Daemon, number: int, rounds: int, tokens: list[int]) -> None:
    messages: list[dict[str, str]] = []
    with daemon.connect() as wire:
        for asked in range(rounds):
            messages = messages if asked % _TURNS else []
            messages.append({"role": "user", "content": _QUESTIONS[(number + asked) % len(_QUESTIONS)]})
            wire.request("rkllm.run_async", {"messages": messages})
            found = wire.until_final(1)
            messages.append({"role": "assistant", "content": streamed(found)})
            tokens.append(len(found) - 1)
