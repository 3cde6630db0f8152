"""Clients that share batches and leave them at random moments: no token of one in the stream of another."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from tests.daemon import Daemon, Start

# For the long run: RKLLMD_SHARED_RUNS=100000, a quarter of an hour.
RUNS = int(os.environ.get("RKLLMD_SHARED_RUNS", "240"))
CLIENTS = 4
# This many runs of prompts, then as many of messages: the clients keep step, since they share batches.
SAME = 8


def test_whoever_leaves_when_has_its_own_tokens_and_no_others(start: Start) -> None:
    """Each answer is the echo of its own prompt, which nobody else has, or the beginning of that."""
    daemon = start("--coalesce", "always", scenario="pace_us=100;tokens=words")
    daemon.load(extend_param={"n_batch": CLIENTS})
    with ThreadPoolExecutor(CLIENTS) as clients:
        ends = [end for found in clients.map(lambda number: _client(daemon, number), range(CLIENTS)) for end in found]
    assert len(ends) >= RUNS - CLIENTS
    assert {"stop", "length", "abort", "gone"} <= {*ends}, "each kind of end has been there"
    runs = daemon.calls("rkllm_run_async")
    assert runs < len(ends), "some shared a batch"


def _client(daemon: Daemon, number: int) -> list[str]:
    chance = random.Random(number)
    ends: list[str] = []
    numbers = count()
    while len(ends) < RUNS // CLIENTS:
        with daemon.connect() as wire:
            while len(ends) < RUNS // CLIENTS:
                run = next(numbers)
                ends.append(_run(wire, chance, f"client {number} asks {run} " * chance.randrange(1, 4), run))
                if ends[-1] == "gone":
                    break
    return ends


def _run(wire: Any, chance: random.Random, prompt: str, run: int) -> str:
    """Ask, and leave or stay; return how it has ended."""
    way = chance.choice(("stays", "stays", "limited", "cancels", "hangs up"))
    is_chat = run // SAME % 2 == 1
    params: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if is_chat else {"prompt": prompt}
    if way == "limited":
        params["max_new_tokens"] = chance.randrange(1, 10)
    wire.request("rkllm.run_async", params, run)
    leaves_at = chance.randrange(8) if way in ("cancels", "hangs up") else -1
    text, seq = "", 0
    while True:
        if seq == leaves_at and way == "hangs up":
            return "gone"
        if seq == leaves_at:
            wire.request("server.cancel", {"id": run}, f"cancel {run}")
            leaves_at = -1
        message = wire.receive()
        assert "error" not in message or message["error"]["data"]["kind"] == "Cancelled", message
        if message.get("id") != run:
            continue
        if "error" in message:  # it had not begun
            return "abort"
        result = message["result"]
        assert result["seq"] == seq
        seq += 1
        text += result["text"]
        assert f"[user] {prompt}".startswith(text), "its own tokens and no others"
        if result["_callback_state"] == 2:
            if result["finish_reason"] == "stop":
                assert text == f"[user] {prompt}"
            if result["finish_reason"] == "length":
                assert seq - 1 == params["max_new_tokens"]
            return str(result["finish_reason"])
