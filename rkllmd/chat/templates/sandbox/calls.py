"""What a template can call: its own macros, what every chat template may expect to be there, and methods of values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from string import Formatter
from types import BuiltinMethodType, MethodType
from typing import Final

from jinja2 import TemplateError
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, LoopContext, Macro, Undefined
from jinja2.sandbox import SandboxedFormatter, safe_range
from jinja2.utils import Cycler, Joiner, Namespace
from markupsafe import Markup

from rkllmd.chat.templates.sandbox import methods
from rkllmd.chat.templates.sandbox.budget import characters, spend
from rkllmd.chat.templates.sandbox.operators import check_widths
from rkllmd.chat.templates.sandbox.weight import NotAllowed, charge
from rkllmd.json_types import Json, JsonObject

_LONGEST_TIME_FORMAT: Final = 200
# What a call takes, and how much more it is that of a macro, or of a loop in itself.
_CALL_UNITS: Final = 2
_OWN_UNITS: Final = 48
# What is of the template itself: what it does pays when it does it.
OWN: Final = (Macro, BlockReference, LoopContext)
# Objects whose methods do little, but may compare what they are given.
_HELPERS: Final = (Cycler, Joiner, LoopContext)


class Refused(TemplateError):
    """The template's own word: it has called ``raise_exception``."""


class TemplateNamespace(Namespace):
    """A namespace without names that begin with an underscore, as transformers has it."""

    def __init__(*args: Json, **kwargs: Json) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Json) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError("a name in a namespace must not begin with an underscore")


class _Dict:
    """``dict`` without its attributes, as transformers has it."""

    def __call__(self, *args: Json, **kwargs: Json) -> JsonObject:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Json) -> JsonObject:
        return dict.fromkeys(*args)


class Formatting:
    """The method ``format`` of a text, bound to it, with limits to what it makes."""

    def __init__(self, environment: Environment, text: str, *, takes_mapping: bool) -> None:
        self._formatter = _Formatter(environment)
        self._text = text
        self._takes_mapping = takes_mapping

    def __call__(self, *args: Json, **kwargs: Json) -> str:
        """Return the text with the arguments in their places. Raises NotAllowed, OverBudget."""
        if self._takes_mapping:
            (kwargs,), args = args, ()
        check_widths(self._text)
        return self._formatter.vformat(self._text, args, kwargs)


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Json, format_spec: str) -> str:
        check_widths(format_spec)
        charge(value, printed=True)
        spend(characters(1000))
        return str(Formatter.format_field(self, value, format_spec))

    def convert_field(self, value: Json, conversion: Json) -> Json:
        if conversion is not None:
            charge(value, 4, printed=True)
        return Formatter.convert_field(self, value, conversion)


def functions(now: Callable[[], datetime]) -> dict[str, Callable[..., Json]]:
    """Return the functions that transformers gives a template, and those of jinja2 that are of use."""

    def raise_exception(message: object) -> None:
        charge(message, printed=True)
        raise Refused(str(message))

    def strftime_now(format: str) -> str:  # noqa: A002 - its name in transformers
        if len(format) > _LONGEST_TIME_FORMAT:
            raise NotAllowed(f"it writes the time in more than {_LONGEST_TIME_FORMAT} characters")
        spend(_CALL_UNITS + 12 * len(format))
        return now().strftime(format)

    return {
        "range": safe_range,
        "dict": _Dict(),
        "namespace": TemplateNamespace,
        "cycler": Cycler,
        "joiner": Joiner,
        "raise_exception": raise_exception,
        "strftime_now": strftime_now,
    }


def check(called: Json, known: frozenset[object], arguments: tuple[Json, ...]) -> None:
    """Spend what a call takes. Raises NotAllowed for what no chat template needs to call, OverBudget."""
    spend(_CALL_UNITS + len(arguments))
    if isinstance(called, (*OWN, Undefined)):
        spend(_OWN_UNITS)
        return
    if isinstance(called, BuiltinMethodType):
        methods.of_builtin(called.__self__, called.__name__, arguments)
        return
    if isinstance(called, MethodType) and isinstance(called.__self__, Markup):
        methods.of_builtin(called.__self__, called.__name__, arguments)
        return
    owner = called.__self__ if isinstance(called, MethodType) else called
    if not (isinstance(owner, (*_HELPERS, _Dict, Formatting)) or called in known):
        raise NotAllowed(f"it calls a {type(called).__name__}")
    for argument in arguments:
        charge(argument)
