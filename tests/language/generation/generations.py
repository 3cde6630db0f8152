"""Generations whose callbacks the test makes, and a loop that works when the test says so."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMResult
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.generation import Generation
from rkllmd.language.texts.transcript import Token, Transcript

EURO = "€".encode()

CONTINUE, PAUSE, FREE = 0, 1, 2


class Loop:
    """The event loop and the client of one run, by hand."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []
        self.wakes = 0
        self.sent: list[list[dict[str, Any]]] = []

    def wake(self, drain: Callable[[], None]) -> None:
        """Schedule, as the callbacks do."""
        self.wakes += 1
        self.scheduled.append(drain)

    def turn(self) -> None:
        """Run what is scheduled now."""
        scheduled, self.scheduled = self.scheduled, []
        for drain in scheduled:
            drain()

    def run(self) -> None:
        """Run until nothing is scheduled."""
        while self.scheduled:
            self.turn()

    @property
    def partials(self) -> list[dict[str, Any]]:
        """Return what the client has got."""
        return [partial for piece in self.sent for partial in piece]


def generation(
    loop: Loop,
    *,
    mode: int = RKLLMInferMode.RKLLM_INFER_GENERATE,
    n_batch: int = 1,
    max_new_tokens: int = -1,
    can_free_buffer: bool = True,
    streamed: bool = True,
    reader: AnswerReader | None = None,
) -> Generation:
    transcript = Transcript(n_batch)
    if reader is not None:
        transcript.read_by(reader)
    return Generation(
        mode=mode,
        transcript=transcript,
        max_new_tokens=max_new_tokens,
        can_free_buffer=can_free_buffer,
        wake=loop.wake,
        send=loop.sent.append if streamed else None,
    )


def results(*entries: tuple[int, bytes | None]) -> Any:
    """Return what C gives to a callback: a pointer to one RKLLMResult for each batch entry."""
    array = (RKLLMResult * len(entries))()
    for result, (token_id, text) in zip(array, entries, strict=True):
        result.token_id, result.text = token_id, text
    return ctypes.cast(array, ctypes.POINTER(RKLLMResult))


def token(text: bytes | None, token_id: int = 100) -> Any:
    return results((token_id, text))


NULL = ctypes.POINTER(RKLLMResult)()


def entries(*texts: bytes | None) -> list[Token]:
    return [(100, text) for text in texts]
