"""What a template can call."""

from __future__ import annotations

from datetime import datetime

import pytest
from jinja2.exceptions import SecurityError

from rkllmd.chat.templates.sandbox.budget import limited
from rkllmd.chat.templates.sandbox.calls import Refused, functions
from rkllmd.chat.templates.sandbox.environment import ChatEnvironment
from rkllmd.chat.templates.sandbox.weight import NotAllowed
from rkllmd.json_types import Json


def rendered(source: str, **variables: Json) -> str:
    environment = ChatEnvironment(lambda: datetime(2026, 2, 3))
    with limited(50_000):
        template = environment.compiled(source)
    with limited(5000):
        return template.render(**variables)


def test_the_functions_of_transformers_are_there() -> None:
    assert rendered("{{ strftime_now('%d %B %Y') }}") == "03 February 2026"
    assert rendered("{{ dict(a=1, b=2) }}{{ dict.fromkeys(['a']) }}") == "{'a': 1, 'b': 2}{'a': None}"
    assert rendered("{% set ns = namespace({'a': 1}, b=2) %}{% set ns.a = 3 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}") == "32"
    assert rendered("{% set ns = namespace(self=5) %}{{ ns.self }}") == "5"
    assert rendered("{{ range(3) | list }}{{ cycler('a', 'b').next() }}{{ joiner()() }}") == "[0, 1, 2]a"
    with pytest.raises(Refused, match="no, not this"):
        rendered("{{ raise_exception('no, not this') }}")


def test_the_names_are_those_of_transformers_and_jinja() -> None:
    assert {*functions(datetime.now)} == {
        *("range", "dict", "namespace", "cycler", "joiner", "raise_exception", "strftime_now"),
    }


def test_format_is_that_of_python() -> None:
    assert rendered("{{ '{:>4}|{!r}|{a[b]}|{c.d}'.format(1, 'x', a={'b': 2}, c={'d': 3}) }}") == "   1|'x'|2|3"
    assert rendered("{{ '{a}'.format_map({'a': 1}) }}") == "1"


@pytest.mark.parametrize("called", [print, open, type, object(), str.upper, dict])
def test_nothing_else_is_called(called: object) -> None:
    with pytest.raises((NotAllowed, TypeError)):
        rendered("{{ called() }}", called=called)


def test_names_with_an_underscore_are_refused() -> None:
    with pytest.raises(SecurityError, match="underscore"):
        rendered("{{ namespace(_a=1) }}")


def test_a_time_has_a_short_format() -> None:
    with pytest.raises(NotAllowed, match="200"):
        rendered("{{ strftime_now('%c' * 101) }}")
