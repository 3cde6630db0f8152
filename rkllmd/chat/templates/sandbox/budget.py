"""How much a template may do: units of work, which are counted instead of a clock, so that a result is always the same.

A unit is what takes a few tenths of a microsecond: a turn of a loop, a call, a value in a list, or 64 characters that
are copied. It belongs to the context (``contextvars``), for jinja2 hands it to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# A loop that does nothing spends these in 50 ms on the machine that this was measured with.
LEAST_UNITS: Final = 100_000
# Macros, recursive loops and blocks in each other. Python's own limit is 1000 frames, and a call takes six.
MOST_CALLS_DEEP: Final = 60
# A character takes this many bits of a unit when it is copied.
_CHARACTER_BITS: Final = 6


class OverBudget(Exception):
    """The template does too much: an endless loop, or a text without end."""


class Budget:
    """What is left for one rendering. Once it is overspent, all that follows fails too."""

    __slots__ = ("deep", "left")

    def __init__(self, units: int) -> None:
        self.left = units
        self.deep = 0

    def spend(self, units: int) -> None:
        """Take units away. Raises OverBudget if they are too many."""
        self.left -= units
        if self.left < 0:
            raise OverBudget("it works for too long, or its text becomes too large")


_CURRENT: Final[ContextVar[Budget]] = ContextVar("budget of a chat template")


def spend(units: int) -> None:
    """Take units from the budget of what is being rendered. Raises OverBudget."""
    _CURRENT.get().spend(units)


def characters(count: int) -> int:
    """Return how many units it takes to copy this many characters."""
    return 1 + (count >> _CHARACTER_BITS)


@contextmanager
def limited(units: int) -> Iterator[Budget]:
    """Within it there are this many units to spend."""
    budget = Budget(units)
    token = _CURRENT.set(budget)
    try:
        yield budget
    finally:
        _CURRENT.reset(token)


@contextmanager
def one_call_deeper() -> Iterator[None]:
    """Within it a call of the template is running. Raises OverBudget if too many are."""
    budget = _CURRENT.get()
    budget.deep += 1
    try:
        if budget.deep > MOST_CALLS_DEEP:
            raise OverBudget(f"its macros call each other more than {MOST_CALLS_DEEP} deep")
        yield
    finally:
        budget.deep -= 1
