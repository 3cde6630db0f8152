"""What it costs to write a C call into the crash journal."""

from __future__ import annotations

import timeit
from types import SimpleNamespace
from typing import Final

from rkllmd.machine.crash_journal import Asked, CrashJournal

_CALLS: Final = 100_000
_MODEL: Final = SimpleNamespace(number=3, name="qwen3", path="/models/qwen3-0.6b-rk3588-w8a8.rkllm")


def call_us() -> tuple[float, float]:
    """Return how many µs one more C call of a method takes, and the first one with all that is written for it."""
    journal = CrashJournal()

    def ask() -> Asked:
        return Asked("rkllm.run", _MODEL, "", 812, 1000, "17")

    def call() -> None:
        journal.leave(journal.enter("rkllm_run"))

    def first_call() -> None:
        with journal.working(ask):
            call()

    with journal.working(ask):
        again = min(timeit.repeat(call, number=_CALLS))
    return again / _CALLS * 1e6, min(timeit.repeat(first_call, number=_CALLS)) / _CALLS * 1e6
