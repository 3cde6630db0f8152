"""A long system prompt on the portable runtime: the time to the first token without and with its prompt cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.daemon import Daemon
from tests.wire_connection import Wire

# In the demo model's words, 24 tokens each: about 1000.
_SENTENCES: Final = 41
_SENTENCE: Final = "You are a helpful assistant on a small board, and you answer in a few words. "
_QUESTIONS: Final = ("What is an NPU?", "Hello", "What is bread?", "What is the capital of France?", "Tell me a joke.")
# The demo model was trained for 1024 tokens: question and answer have to fit too. The portable runtime serves more, if
# less well, and it is the time that counts here.
_CONTEXT: Final = 2048


@dataclass(frozen=True)
class Figures:
    """Medians in seconds, and how many tokens of the prompt were read for the first one."""

    without: float
    tokens_without: int
    cached: float
    tokens_cached: int
    load: float
    size_bytes: int


def measure(folder: Path, rounds: int) -> Figures:
    """Return the figures of one daemon, a run after the other."""
    caches = folder / "caches"
    caches.mkdir()
    with Daemon(folder, "--cache-directory", str(caches), runtime="portable") as daemon, daemon.connect() as wire:
        daemon.load(model_path=str(DEMO_MODEL), max_context_len=_CONTEXT, max_new_tokens=4)
        template = {
            "system_prompt": f"<|im_start|>system\n{_SENTENCE * _SENTENCES}<|im_end|>\n",
            "prompt_prefix": "<|im_start|>user\n",
            "prompt_postfix": "<|im_end|>\n<|im_start|>assistant\n",
        }
        _result(wire, "rkllm.set_chat_template", template)
        without = list(_first_tokens(wire, rounds))
        save = {"prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": "system"}}
        saved = _result(wire, "rkllm.run", {"prompt": "?", **save})["prompt_cache"]
        assert saved["saved"], saved
        started = time.perf_counter()
        _result(wire, "rkllm.load_prompt_cache", {"prompt_cache_path": "system"})
        load = time.perf_counter() - started
        cached = list(_first_tokens(wire, rounds))
        size = _result(wire, "server.prompt_caches", None)["total_bytes"]
    return Figures(
        statistics.median(seconds for seconds, _ in without),
        without[0][1],
        statistics.median(seconds for seconds, _ in cached),
        cached[0][1],
        load,
        size,
    )


def _first_tokens(wire: Wire, rounds: int) -> Iterator[tuple[float, int]]:
    """Give the seconds to the first token and the tokens of the prompt that were read, for one question each."""
    for number in range(rounds):
        started = time.perf_counter()
        wire.request("rkllm.run_async", {"prompt": _QUESTIONS[number % len(_QUESTIONS)]})
        wire.receive()
        took = time.perf_counter() - started
        yield took, int(wire.final(1)["result"]["perf"]["prefill_tokens"])


def _result(wire: Wire, method: str, params: Any) -> Any:
    answer = wire.ask(method, params)
    assert "result" in answer, answer
    return answer["result"]
