"""Conversations that are sent whole: the time to the first token of a late turn, beside the time for its own words."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rkllmd.errors import RuntimeFailure
from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.bench.measure import NO_TRACE
from tests.chat.templates.common import PUBLISHED, template_of, theirs
from tests.chat.templates.hostile import DEPTH, SIZE, TIME
from tests.daemon import Daemon
from tests.wire_connection import Wire

TURNS: Final = 20
_TOKEN_US: Final = 15_000
_QUESTION: Final = "What is an NPU?"
# Of the turns that are measured.
_LAST: Final = 5


@dataclass(frozen=True)
class Figures:
    """Seconds to the first token, and tokens that were read for it; ``own``: what the words of the turn alone take."""

    took: float
    own: float
    tokens: int
    own_tokens: int


class _Talk:
    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self._messages: list[dict[str, Any]] = [{"role": "system", "content": f"You are {name}. " * 10}]

    def ask(self) -> tuple[float, int]:
        """Take a turn; return the seconds to its first token, and the tokens that were read."""
        self._messages.append({"role": "user", "content": _QUESTION})
        started = time.perf_counter()
        self._wire.request("rkllm.run_async", {"messages": self._messages, "max_new_tokens": 4})
        said = self._wire.receive()["result"]["text"]
        took = time.perf_counter() - started
        *parts, final = self._wire.until_final(1)
        said += "".join(part["result"]["text"] for part in (*parts, final))
        self._messages.append({"role": "assistant", "content": said})
        return took, int(final["result"]["perf"]["prefill_tokens"])


def on_the_simulator(folder: Path) -> Figures:
    """Return the figures of the last turns, where a token takes 15 ms to be read."""
    scenario = f"text=ok;prefill_token_us={_TOKEN_US}"
    with Daemon(folder, scenario=scenario, environ=NO_TRACE) as daemon, daemon.connect() as wire:
        daemon.load()
        talk = _Talk(wire, "brief")
        turns = [talk.ask() for _ in range(TURNS)][-_LAST:]
    return Figures(
        statistics.median(took for took, _ in turns),
        len(_QUESTION) * _TOKEN_US / 1e6,
        max(tokens for _, tokens in turns),
        len(_QUESTION),
    )


def on_the_portable_runtime(folder: Path) -> Figures:
    """Return the figures of the last turns of three conversations that take turns, beside one that is alone."""
    caches = folder / "caches"
    caches.mkdir()
    with Daemon(folder, "--cache-directory", str(caches), runtime="portable") as daemon, daemon.connect() as wire:
        daemon.load(model_path=str(DEMO_MODEL), max_context_len=2048)
        alone = _Talk(wire, "alone")
        own = [alone.ask() for _ in range(TURNS)][-_LAST:]
        talks = [_Talk(wire, name) for name in ("first", "second", "third")]
        turns = [talk.ask() for _ in range(TURNS) for talk in talks][-_LAST * len(talks) :]
    return Figures(
        statistics.median(took for took, _ in turns),
        statistics.median(took for took, _ in own),
        max(tokens for _, tokens in turns),
        max(tokens for _, tokens in own),
    )


def rendering() -> tuple[float, float]:
    """Return the CPU seconds in which 41 messages are rendered, by us and by transformers: the best of five."""
    asked = {"role": "user", "content": _QUESTION}
    messages = [*[asked, {"role": "assistant", "content": "It is a chip. " * 20}] * 20, asked]
    template, text = template_of(PUBLISHED["qwen3"]), PUBLISHED["qwen3"]
    ours = min(_cpu_seconds(lambda: template.render(messages)) for _ in range(5))
    return ours, min(_cpu_seconds(lambda: theirs(text, messages, add_generation_prompt=True)) for _ in range(5))


def slowest_template() -> tuple[str, float]:
    """Return the hostile template that goes on for longest until it is stopped, in CPU seconds: the best of three."""
    took = {name: min(_until_stopped(text) for _ in range(3)) for name, text in (TIME | SIZE | DEPTH).items()}
    slowest = max(took, key=lambda name: took[name])
    return slowest, took[slowest]


def _until_stopped(template: str) -> float:
    def render() -> None:
        try:
            template_of(template).render([{"role": "user", "content": _QUESTION}])
        except RuntimeFailure:
            return
        raise AssertionError("it was not stopped")

    return _cpu_seconds(render)


def _cpu_seconds(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return time.thread_time() - begin
