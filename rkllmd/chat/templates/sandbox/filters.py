"""The filters and tests of jinja2 that chat templates have use for, each with what it costs.

What is left out makes HTML, or something random. What jinja2 computes while it is looked at (``map``, ``select``) is
computed at once here: a chain of such promises in each other has no limit, and Python crashes when it is given up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from jinja2 import pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.tests import TESTS
from jinja2.utils import _PassArg

from rkllmd.chat.templates.sandbox import methods
from rkllmd.chat.templates.sandbox.budget import characters, spend
from rkllmd.chat.templates.sandbox.methods import Cost, length_of
from rkllmd.chat.templates.sandbox.operators import ESCAPED, binary, check_percent
from rkllmd.chat.templates.sandbox.weight import NotAllowed, as_list, charge, charge_items, length
from rkllmd.json_types import Json

# Of a number that says how wide something becomes, or how many.
_LARGEST_NUMBER: Final = 1000
# Sorting looks at each value this many times.
_COMPARISONS: Final = 20
# To split a word off takes as long as to copy this many characters.
_CHARACTERS_OF_WORD: Final = 256
_LONGEST_SEPARATOR: Final = 32

# What a filter or test takes beside its own work.
_CALL_UNITS: Final = 6

_Values = tuple[Json, ...]

_THEIR_FILTERS: Final[Mapping[str, Json]] = FILTERS
_THEIR_TESTS: Final[Mapping[str, Json]] = TESTS


def filters() -> dict[str, Json]:
    """Return the filters by their names."""
    made = {name: _charged(_THEIR_FILTERS[name], cost) for name, cost in _FILTERS.items()}
    return {**made, "tojson": _tojson, "sum": _charged(_sum, _deep)}


def tests() -> dict[str, Json]:
    """Return the tests by their names: those that look at a type or an identity as they are."""
    made = {name: _charged(_THEIR_TESTS[name], cost) for name, cost in _TESTS.items()}
    return {**{name: _THEIR_TESTS[name] for name in _CHEAP_TESTS}, **made}


def _charged(function: Callable[..., Json], cost: Cost) -> Callable[..., Json]:
    """Return a filter or a test that pays before it works."""
    passed = _PassArg.from_obj(function)

    @pass_context
    def paying(context: Context, value: Json, *args: Json, **kwargs: Json) -> Json:
        if isinstance(value, LoopContext):
            raise NotAllowed("it takes the loop itself for a list")
        spend(_CALL_UNITS)
        value = as_list(value)
        arguments = tuple(map(as_list, (*args, *kwargs.values())))
        for argument in arguments:
            charge(argument)
        cost(value, arguments)
        args = arguments[: len(args)]
        kwargs = dict(zip(kwargs, arguments[len(args) :], strict=True))
        if passed is not None:
            first = {
                _PassArg.context: context,
                _PassArg.eval_context: context.eval_ctx,
                _PassArg.environment: context.environment,
            }[passed]
            result = function(first, value, *args, **kwargs)
        else:
            result = function(value, *args, **kwargs)
        return _computed(result)

    return paying


def _computed(result: Json) -> Json:
    """Return what a filter has promised to compute, as something that can be looked at once."""
    if not isinstance(result, Iterator):
        return result
    found = []
    for item in result:
        spend(1)
        found.append(item)
    return iter(found)


@pass_context
def _tojson(
    context: Context,
    value: Json,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON, as transformers has it: without the escapes for HTML."""
    step = len(indent) if isinstance(indent, str) else indent or 0
    if step > _LONGEST_SEPARATOR or max(map(len, separators or ("",))) > _LONGEST_SEPARATOR:
        raise NotAllowed(f"it writes JSON with more than {_LONGEST_SEPARATOR} characters between values")
    # Each value is on a line of its own, which begins with what its depth takes.
    charge(value, 2 if indent is None else 6, printed=True)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_context
def _sum(context: Context, iterable: Json, attribute: str | int | None = None, start: Json = 0) -> Json:
    """Return the sum, with each addition paid for: that of lists copies all that came before."""
    if attribute is not None:
        iterable = _THEIR_FILTERS["map"](context, iterable, attribute=attribute)
    for item in iterable:
        start = binary("+", start, item)
    return start


def _step(value: Json, arguments: _Values) -> None:
    spend(1)


def _items(value: Json, arguments: _Values) -> None:
    charge_items(value)


def _each(value: Json, arguments: _Values) -> None:
    """Of filters that call another one, or look an attribute up, for each item."""
    charge_items(value)
    spend(length(value) * (1 + sum(map(length_of, arguments)) // 4))


def _text(value: Json, arguments: _Values) -> None:
    """Of filters that make a text of the value, and go through it."""
    charge(value, ESCAPED, printed=True)


def _long_text(value: Json, arguments: _Values) -> None:
    charge(value, 2 * ESCAPED, printed=True)
    _numbers(value, arguments)


def _each_character(value: Json, arguments: _Values) -> None:
    """Of what makes a text of each word, which may have one character."""
    charge(value, _CHARACTERS_OF_WORD, printed=True)


def _deep(value: Json, arguments: _Values) -> None:
    charge(value)


def _sorted(value: Json, arguments: _Values) -> None:
    charge(value, _COMPARISONS)
    _each(value, arguments)


def _numbers(value: Json, arguments: _Values) -> None:
    """Refuse large numbers that say how wide something becomes, or how many."""
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > _LARGEST_NUMBER:
            raise NotAllowed(f"it gives a filter a number above {_LARGEST_NUMBER}")


def _portions(value: Json, arguments: _Values) -> None:
    _numbers(value, arguments)
    charge_items(value)
    spend(2 * _LARGEST_NUMBER)


def _indent(value: Json, arguments: _Values) -> None:
    _text(value, ())
    _numbers(value, arguments)
    width = max((item if isinstance(item, int) else length_of(item) for item in arguments), default=4)
    spend(characters(value.count("\n") * width if isinstance(value, str) else 0))


def _truncate(value: Json, arguments: _Values) -> None:
    _text(value, ())


def _join(value: Json, arguments: _Values) -> None:
    charge(value, ESCAPED, printed=True)
    _each(value, ())
    spend(characters(length(value) * sum(map(length_of, arguments)) * ESCAPED))


def _replace(value: Json, arguments: _Values) -> None:
    _text(value, ())
    methods.replace(value if isinstance(value, str) else "", arguments)


def _trim(value: Json, arguments: _Values) -> None:
    _text(value, ())
    methods.strip(value if isinstance(value, str) else "", arguments)


def _format(value: Json, arguments: _Values) -> None:
    check_percent(value if isinstance(value, str) else "", arguments)


def _integer(value: Json, arguments: _Values) -> None:
    """Of what makes a number of a text."""
    if isinstance(value, str) and len(value) > _LARGEST_NUMBER:
        raise NotAllowed("it makes a number of a long text")
    spend(1)


def _round(value: Json, arguments: _Values) -> None:
    _integer(value, arguments)
    if any(isinstance(argument, int) and abs(argument) > 300 for argument in arguments):
        raise NotAllowed("it rounds to more than 300 places")


def _compared(value: Json, arguments: _Values) -> None:
    charge(value)


def _remainder(value: Json, arguments: _Values) -> None:
    if not isinstance(value, (int, float)):
        raise NotAllowed("it divides what is no number")
    spend(1)


_FILTERS: Final[Mapping[str, Cost]] = {
    **dict.fromkeys(("abs", "attr", "count", "d", "default", "first", "last", "length", "safe"), _step),
    **dict.fromkeys(("items", "list", "reverse"), _items),
    **dict.fromkeys(("map", "reject", "rejectattr", "select", "selectattr"), _each),
    **dict.fromkeys(("capitalize", "e", "escape", "forceescape", "lower", "string", "upper"), _text),
    **dict.fromkeys(("center", "urlencode", "wordcount"), _long_text),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), _sorted),
    **dict.fromkeys(("batch", "slice"), _portions),
    **dict.fromkeys(("float", "int"), _integer),
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "title": _each_character,
    "trim": _trim,
    "truncate": _truncate,
}
_CHEAP_TESTS: Final = (
    *("boolean", "callable", "defined", "escaped", "false", "filter", "float", "integer", "iterable", "mapping"),
    *("none", "number", "sameas", "sequence", "string", "test", "true", "undefined"),
)
_TESTS: Final[Mapping[str, Cost]] = {
    **dict.fromkeys(("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "gt", "in", "le", "lt", "ne"), _compared),
    **dict.fromkeys(("greaterthan", "lessthan"), _compared),
    **dict.fromkeys(("lower", "upper"), _text),
    **dict.fromkeys(("divisibleby", "even", "odd"), _remainder),
}
