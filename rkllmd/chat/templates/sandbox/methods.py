"""Which methods of texts, lists and dicts a template can call, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from rkllmd.chat.templates.sandbox.budget import characters, spend
from rkllmd.chat.templates.sandbox.operators import ESCAPED
from rkllmd.chat.templates.sandbox.weight import NotAllowed, charge, charge_items
from rkllmd.json_types import Json

# Spends what a call takes: the object, and the arguments.
Cost: TypeAlias = Callable[[Json, "tuple[Json, ...]"], None]

_WIDEST: Final = 10_000
# Python looks for a text of up to this many characters in a way whose cost is, at worst, the product of the lengths.
_SLOW_NEEDLE: Final = 100


def of_builtin(owner: object, name: str, arguments: tuple[Json, ...]) -> None:
    """Spend what a call of a method takes. Raises NotAllowed for one that templates do not need, OverBudget."""
    for kind, costs in _COSTS.items():
        if isinstance(owner, kind) and name in costs:
            for argument in arguments:
                charge(argument)
            costs[name](owner, arguments)
            return
    raise NotAllowed(f"it calls {type(owner).__name__}.{name}")


def whole_text(owner: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what one look at a text takes, as ``lower`` does."""
    spend(characters(len(owner) * ESCAPED))


def one_step(owner: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what a look-up takes."""
    spend(1)


def items(owner: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what one look at each item takes."""
    charge_items(owner)


def everything(owner: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what one look at each item and all that is in it takes."""
    charge(owner)


def search(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what the search for the first argument takes."""
    spend(characters(len(text) * (4 + min(length_of(arguments[0] if arguments else None), _SLOW_NEEDLE))))


def split(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to list all that is between the places of the first argument, or between whitespace."""
    search(text, arguments)
    needle = arguments[0] if arguments else None
    spend(text.count(needle) if isinstance(needle, str) and needle else len(text) // 4)


def strip(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to look for each of the characters at the beginning and at the end."""
    spend(characters(len(text) * (1 + sum(map(length_of, arguments)))))


def pad(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to fill a text up to a width. Raises NotAllowed for a large one."""
    width = arguments[0] if arguments else 0
    if isinstance(width, int) and width > _WIDEST:
        raise NotAllowed(f"it fills a text up to more than {_WIDEST} characters")
    spend(characters(len(text) * ESCAPED) + _WIDEST // 64)


def expand_tabs(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to replace tabs by spaces."""
    pad("", arguments)
    size = arguments[0] if arguments and isinstance(arguments[0], int) else 8
    spend(characters(len(text) + text.count("\t") * max(size, 0)))


def replace(text: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to put the second argument in each place of the first one."""
    search(text, arguments)
    if len(arguments) > 1 and isinstance(arguments[0], str):
        places = text.count(arguments[0])
        spend(places + characters((len(text) + places * length_of(arguments[1])) * ESCAPED))


def join(separator: Json, arguments: tuple[Json, ...]) -> None:
    """Spend what it takes to join the items of the argument; what is in them is paid already."""
    count = len(arguments[0]) if arguments and hasattr(arguments[0], "__len__") else 0
    charge_items(arguments[0] if arguments else None)
    spend(characters(count * len(separator) * ESCAPED))


def length_of(value: object) -> int:
    """Return how many characters a text has; 0 for anything else."""
    return len(value) if isinstance(value, str) else sum(map(length_of, value)) if isinstance(value, tuple) else 0


_TEXT: Final[Mapping[str, Cost]] = {
    **dict.fromkeys(
        (
            *("capitalize", "casefold", "lower", "swapcase", "title", "upper"),
            *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric"),
            *("isprintable", "isspace", "istitle", "isupper", "endswith", "startswith"),
            *("removeprefix", "removesuffix"),
        ),
        whole_text,
    ),
    **dict.fromkeys(("count", "find", "index", "rfind", "rindex", "partition", "rpartition"), search),
    **dict.fromkeys(("rsplit", "split", "splitlines"), split),
    **dict.fromkeys(("lstrip", "rstrip", "strip"), strip),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), pad),
    "expandtabs": expand_tabs,
    "join": join,
    "replace": replace,
}
_DICT: Final[Mapping[str, Cost]] = {
    **dict.fromkeys(("get", "items", "keys", "values"), one_step),
    "copy": items,
}
_SEQUENCE: Final[Mapping[str, Cost]] = {
    "copy": items,
    "count": everything,
    "index": everything,
}
_NUMBER: Final[Mapping[str, Cost]] = dict.fromkeys(("bit_length", "is_integer", "conjugate"), one_step)
_COSTS: Final[Mapping[type, Mapping[str, Cost]]] = {
    str: _TEXT,
    dict: _DICT,
    list: _SEQUENCE,
    tuple: _SEQUENCE,
    range: _SEQUENCE,
    int: _NUMBER,
    float: _NUMBER,
}
