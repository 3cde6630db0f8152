"""How large a value is, all that is in it included: paid before anything is done that looks at all of it.

A few lines of a template can make a value that is small in memory and endless to print: a list that has the same list
twice, that one another twice, and so on. So every occurrence counts, and lists in lists have a limit: Python has none
for the hash of a tuple in a tuple, and would crash.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, KeysView, ValuesView
from typing import Final

from rkllmd.chat.templates.sandbox.budget import OverBudget, characters, spend

MOST_LEVELS: Final = 64
# Integers have at most this many bits.
MOST_BITS: Final = 1024

_VIEWS: Final = (KeysView, ValuesView, ItemsView)
_SCALARS: Final = (int, float, type(None))


class NotAllowed(Exception):
    """The template does what no chat template needs."""


def charge(value: object, times: int = 1, *, printed: bool = False) -> None:
    """Spend what it takes to look ``times`` times at a value and everything in it.

    ``printed``: it is written as text, so that nothing may be in it whose text is of unknown length. Raises OverBudget,
    NotAllowed.
    """
    if isinstance(value, str):
        spend(characters(len(value) * times))
        return
    level, levels = [value], 0
    while level:
        levels += 1
        if levels > MOST_LEVELS:
            raise OverBudget(f"it makes lists in lists, more than {MOST_LEVELS} deep")
        below: list[object] = []
        for item in level:
            _charge_one(item, times, printed, below)
        level = below


def _charge_one(item: object, times: int, printed: bool, below: list[object]) -> None:
    if isinstance(item, str):
        spend(characters(len(item) * times))
    elif isinstance(item, dict):
        spend(1 + 2 * len(item) * times)
        below.extend(item)
        below.extend(item.values())
    elif isinstance(item, (list, tuple, *_VIEWS)):
        spend(1 + len(item) * times)
        below.extend(item)
    elif isinstance(item, range):
        spend(1 + len(item) * times)
    else:
        spend(times)
        if printed and not isinstance(item, _SCALARS) and type(item).__name__ not in ("Undefined", "range"):
            raise NotAllowed(f"it prints a {type(item).__name__}")


def charge_items(value: object) -> None:
    """Spend what it takes to look once at the items of a list, a dict or a text, but not into them."""
    if isinstance(value, str):
        spend(1 + len(value) // 4)
    else:
        spend(1 + length(value))


def length(value: object) -> int:
    """Return how many items a value has; 0 for what has none."""
    return len(value) if isinstance(value, (str, list, tuple, dict, range, *_VIEWS)) else 0


def as_list(value: object) -> object:
    """Return the items of what filters such as ``map`` return, which can be looked at only once; others unchanged."""
    return list(value) if type(value) is type(iter([])) and isinstance(value, Iterable) else value
