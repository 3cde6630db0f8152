"""How a function fails: with the vendor's code, and a sentence for the one line on descriptor 2."""

from __future__ import annotations

import contextlib
import os

from rkllmd.abi.layouts.rknn_constants import rknn_error

_LONGEST_LINE = 1000


class RknnError(Exception):
    """A call that returns ``code``; ``sentence`` says what is wrong."""

    def __init__(self, code: rknn_error, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def require(condition: object, code: rknn_error, sentence: str) -> None:
    """Raise RknnError unless ``condition`` holds. Only for sentences that cost nothing, since each is always made."""
    if not condition:
        raise RknnError(code, sentence)


def report(function: str, sentence: str) -> None:
    """Write the line of a failed call, as the vendor's runtime does: to descriptor 2, past Python's own streams."""
    words = " ".join(sentence.split())
    line = f"E RKNN: {function}: {words}"[:_LONGEST_LINE]
    with contextlib.suppress(OSError):
        os.write(2, line.encode("utf-8", "replace") + b"\n")
