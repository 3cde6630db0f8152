"""The operators of templates, checked before they make something large."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from rkllmd.chat.templates.sandbox.budget import characters, spend
from rkllmd.chat.templates.sandbox.weight import MOST_BITS, NotAllowed, charge, length
from rkllmd.json_types import Json

# A character of a Markup becomes up to this many when it is escaped.
ESCAPED: Final = 6
# Widths and precisions in format strings have at most three digits.
_LARGE_WIDTH: Final = re.compile(r"[0-9]{4}|\*")

_FUNCTIONS: Final[dict[str, Callable[[Json, Json], Json]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "%": operator.mod,
}
NAMES: Final = frozenset(_FUNCTIONS)


def binary(name: str, left: Json, right: Json) -> Json:
    """Return what an operator makes of two values. Raises OverBudget, NotAllowed, and what the operator raises."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        _check_numbers(name, left, right)
    elif name == "*":
        _check_repetition(left, right)
    elif name == "%" and isinstance(left, str):
        check_percent(left, right)
    elif name == "+" and type(left) is type(right) and isinstance(left, (str, list, tuple)):
        spend(characters((len(left) + len(right)) * _growth(left, right)))
    else:
        charge(left, ESCAPED)
        charge(right, ESCAPED)
    return _FUNCTIONS[name](left, right)


def _growth(left: object, right: object) -> int:
    return 1 if type(left) is str and type(right) is str else ESCAPED


def _check_numbers(name: str, left: float, right: float) -> None:
    spend(1)
    if isinstance(left, float) or isinstance(right, float):
        return
    bits = max(left.bit_length(), right.bit_length())
    if name == "*":
        bits = left.bit_length() + right.bit_length()
    elif name == "**" and right > 0:
        bits = max(bits, left.bit_length() * right if left.bit_length() > 1 else 1)
    if bits > MOST_BITS:
        raise NotAllowed(f"it computes with an integer of more than {MOST_BITS} bits")


def _check_repetition(left: object, right: object) -> None:
    times, items = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(times, int) and times > 0:
        spend(characters(length(items) * times * (1 if isinstance(items, str) else ESCAPED)))


def check_percent(pattern: str, values: object) -> None:
    """Spend what ``pattern % values`` takes. Raises NotAllowed if it asks for large widths."""
    check_widths(pattern)
    spend(characters(len(pattern)))
    charge(values, 1 + pattern.count("%") * ESCAPED, printed=True)


def check_widths(pattern: str) -> None:
    """Refuse a format string that has a width or a precision of four digits or more, or one that is computed."""
    if _LARGE_WIDTH.search(pattern):
        raise NotAllowed("it formats with a width of more than three digits")
