"""jinja2's sandbox, set up as transformers has it for chat templates, in which a template pays for what it does.

As in transformers (``utils/chat_template_utils.py``): ``trim_blocks``, ``lstrip_blocks``, loop controls, generation
blocks, ``tojson`` without escapes for HTML, ``raise_exception``, ``strftime_now``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, TypeAlias

from jinja2 import Template, nodes
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls  # noqa: N812 - a class
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rkllmd.chat.templates.sandbox import calls, filters, operators
from rkllmd.chat.templates.sandbox.budget import one_call_deeper, spend
from rkllmd.chat.templates.sandbox.program import MeteredCode, metered
from rkllmd.chat.templates.sandbox.prompt_end import with_mark
from rkllmd.chat.templates.sandbox.weight import charge, length
from rkllmd.json_types import Json

Clock: TypeAlias = Callable[[], datetime]

# What it takes to read one token of a template, and to compile it.
_TOKEN_UNITS: Final = 25
_OF_DICTS: Final = frozenset(dir(dict))
# What the code that jinja2 makes adds to the arguments of a call in a loop.
_ADDED: Final = ("_loop_vars", "_block_vars")


class GenerationBlocks(Extension):
    """``{% generation %}…{% endgeneration %}``: what a model has said, for those who train it. Here it is just text."""

    tags = {"generation"}  # noqa: RUF012 - as in the base class

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """Return the tokens of a template that is compiled, each paid for."""
        for token in stream:
            spend(_TOKEN_UNITS)
            yield token

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the statements in the block, in a scope of their own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """One for each clock. The methods without an underscore that are not jinja2's are for the code of templates."""

    intercepted_binops = operators.NAMES
    code_generator_class = MeteredCode

    def __init__(self, now: Clock = datetime.now) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            # What is computed while a template is compiled is computed for nobody.
            optimized=False,
            extensions=[GenerationBlocks, LoopControls],
            finalize=_printed,
        )
        self.filters = filters.filters()
        self.tests = filters.tests()
        self.globals = dict(calls.functions(now))
        self._known = frozenset(self.globals.values())

    def compiled(self, source: str) -> Template:
        """Return the template. Raises TemplateSyntaxError, OverBudget; a deeply nested one also other errors."""
        return self.template_class.from_code(self, self.compile(source), self.make_globals(None))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return metered(with_mark(super()._parse(source, name, filename)))

    def pay(self, units: int) -> bool:
        """Spend what the next statements take; True, so that it can stand in a condition."""
        spend(units)
        return True

    def weighed(self, value: Json) -> Json:
        """Return the value, paid for one look at all that is in it."""
        charge(value)
        return value

    def sliced(self, value: Json) -> Json:
        """Return the value, paid for a copy of its items."""
        spend(1 + length(value) // 16)
        return value

    def concatenated(self, values: list[Json]) -> str:
        """Return the values as one text, as the operator ~ does."""
        for value in values:
            charge(value, 2, printed=True)
        return "".join(map(str, values))

    def call_binop(self, context: Context, operator: str, left: Json, right: Json) -> Json:
        """Return what an operator makes of two values."""
        return operators.binary(operator, left, right)

    def getattr(self, obj: Json, attribute: str) -> Json:
        """Return an attribute or an item: as the sandbox does, which takes ten times as long for the commonest."""
        if type(obj) is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if type(obj) is calls.TemplateNamespace and not attribute.startswith("_"):
            return getattr(obj, attribute, None) if hasattr(obj, attribute) else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Json, argument: Json) -> Json:
        """Return an item; a key that is no text and no number is paid for, since all of it is hashed."""
        if not isinstance(argument, (str, int)):
            charge(argument)
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Json) -> Callable[..., str] | None:
        """Return the method ``format`` of a text with limits; None for what is another one."""
        owner = getattr(value, "__self__", None)
        name = getattr(value, "__name__", None)
        if not isinstance(owner, str) or name not in ("format", "format_map"):
            return None
        return calls.Formatting(self, owner, takes_mapping=name == "format_map")

    def call(__self, __context: Context, __obj: Json, *args: Json, **kwargs: Json) -> Json:  # noqa: N805
        """Call what a template may call, and have it paid. Raises NotAllowed, OverBudget."""
        given = tuple(value for name, value in kwargs.items() if name not in _ADDED)
        calls.check(__obj, __self._known, (*args, *given))
        if isinstance(__obj, calls.OWN):
            with one_call_deeper():
                return super().call(__context, __obj, *args, **kwargs)
        return super().call(__context, __obj, *args, **kwargs)


def _printed(value: Json) -> str:
    """Return what is written for a value."""
    if isinstance(value, Undefined):
        return str(value)
    charge(value, printed=True)
    return str(value)
