"""What a host is told while a model works, and the size of pictures for a classifier."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.mcp import calls
from rkllmd.gateway.models import ServedModel


class Run:
    """A run that waits for a while, then says a word each second."""

    def __init__(self, *words: str) -> None:
        self.is_done = self.is_misdirected = False
        self.queue: Any = None
        self._words = list(words)
        self._times_asked = 0

    async def begin(self) -> ServedModel:
        """Begin."""
        return ServedModel("demo", 1)

    async def ask_queue(self) -> None:
        """Be asked where it stands."""
        self._times_asked += 1

    async def results(self) -> list[dict[str, Any]]:
        """Return the next results."""
        if self._times_asked < 2:
            if self.queue is None or len(self.queue["queue"]) < self._times_asked:
                waiting = {"own": True, "position": 3 - self._times_asked, "estimated_wait_ms": None}
                self.queue = {"queue": [waiting] * self._times_asked, "length": 3, "running": []}
                return []
            await trio.sleep_forever()
        await trio.sleep(1)
        self.is_done = len(self._words) == 1
        word: dict[str, Any] = {"text": self._words.pop(0)}
        return [{**word, "finish_reason": "stop"} if self.is_done else word]


async def test_what_a_host_is_told_grows(autojump_clock: object) -> None:
    told: list[tuple[float, float | None, str]] = []

    async def report(*what: Any) -> None:
        told.append(what)

    run: Any = Run("a", "b", "c", "")
    generation = calls._Generation(run, 3, report)
    name, result = await generation.result()
    assert (name, generation.text, result["finish_reason"]) == ("demo", "abc", "stop")
    steps = [done for done, _, _ in told]
    assert steps == sorted(set(steps))
    assert told[-2:] == [(2, 3, "generating"), (3, 3, "generating")], "not more than there can be"
    assert any(doing.startswith("queued, position") for _, _, doing in told)


def test_a_classifier_says_how_large_pictures_are() -> None:
    sides = {"width": 64, "height": 48, "fit": "stretch"}
    assert calls._encoder({"dims": [1, 48, 64, 3], "fmt": "RKNN_TENSOR_NHWC"}) == sides
    assert calls._encoder({"dims": [1, 3, 48, 64], "fmt": "RKNN_TENSOR_NCHW"}) == sides
    with pytest.raises(Failure, match="takes no pictures"):
        calls._encoder({"dims": [1, 48], "fmt": "RKNN_TENSOR_UNDEFINED"})
