"""What is added to a template before it runs."""

from __future__ import annotations

import pytest
from jinja2 import TemplateSyntaxError

from rkllmd.chat.templates.sandbox.budget import limited
from rkllmd.chat.templates.sandbox.environment import ChatEnvironment


def cost(source: str) -> int:
    with limited(50_000):
        template = ChatEnvironment().compiled(source)
    with limited(50_000) as budget:
        template.render(items=list(range(100)))
    return 50_000 - budget.left


def test_each_turn_of_a_loop_pays_for_its_body() -> None:
    short, long = (
        cost("{% for i in items %}{% set a = i %}" + "{% set b = i.c %}" * count + "{% endfor %}") for count in (1, 50)
    )
    assert long - short > 100 * 49


def test_text_that_a_loop_repeats_is_paid_for() -> None:
    assert cost("{% for i in items %}" + "a" * 640 + "{% endfor %}") > 100 * 10


def test_a_condition_of_a_loop_is_paid_for_where_it_is_false() -> None:
    assert cost("{% for i in items if false %}{% endfor %}") >= 100


def test_what_looks_at_all_of_a_value_is_paid_for() -> None:
    nothing = cost("{% set a = items %}")
    for source in ("{% if 5 in items %}{% endif %}", "{% if items == [] %}{% endif %}", "{{ items ~ 'a' }}"):
        assert cost(source) > nothing + 100
    assert cost("{% set a = items[1:] %}") > nothing + 5
    assert cost("{% set a = {(1, 2, 3): 4} %}") > nothing + 3


@pytest.mark.parametrize(
    "statement", ["include 'a'", "import 'a' as b", "from 'a' import b", "extends 'a'", "autoescape true"]
)
def test_other_files_and_escapes_are_refused(statement: str) -> None:
    end = "{% endautoescape %}" if statement.startswith("auto") else ""
    with limited(50_000), pytest.raises(TemplateSyntaxError, match="nothing that a chat template has"):
        ChatEnvironment().compiled("{% " + statement + " %}" + end)
