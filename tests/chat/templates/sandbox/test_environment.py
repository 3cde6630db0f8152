"""What templates can't do: take for ever, fill the memory, end the process, get out of the sandbox."""

from __future__ import annotations

import contextlib
import resource

import pytest

from rkllmd.chat.templates.sandbox.budget import limited
from rkllmd.chat.templates.sandbox.environment import ChatEnvironment
from rkllmd.errors import RuntimeFailure
from tests.chat.templates.common import template_of
from tests.chat.templates.hostile import DEPTH, ESCAPES, SIZE, TIME

MESSAGES = [{"role": "user", "content": "hi"}]
STOPPED = TIME | SIZE | DEPTH


@pytest.mark.parametrize("name", STOPPED)
def test_a_template_that_does_too_much_is_an_error(name: str) -> None:
    with pytest.raises(RuntimeFailure, match="chat template in /models/tested can't be used") as failure:
        template_of(STOPPED[name]).render(MESSAGES)
    assert len(failure.value.message) < 600


def test_it_takes_no_memory() -> None:
    """Each of them would take gigabytes; the peak is that of the process, so all of them are measured together."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in SIZE.values():
        with pytest.raises(RuntimeFailure):
            template_of(text).render(MESSAGES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_gets_out_of_the_sandbox(name: str) -> None:
    with contextlib.suppress(RuntimeFailure):
        assert template_of(ESCAPES[name]).render(MESSAGES).text in ("", "[Undefined]")


def test_what_a_template_does_is_paid_for() -> None:
    """The same template costs the same, whoever else the machine works for."""

    def cost(source: str) -> int:
        with limited(100_000):
            template = environment.compiled(source)
        with limited(100_000) as budget:
            template.render(items=[1, 2, 3], text="x" * 6400)
        return 100_000 - budget.left

    environment = ChatEnvironment()
    assert cost("{% for item in items %}a{% endfor %}") == cost("{% for item in items %}a{% endfor %}")
    assert cost("{{ text }}") - cost("{{ items[0] }}") >= 95
    assert cost("{{ text | upper }}") > cost("{{ text }}") + 100
    turns = [cost("{% for i in range(" + str(count) + ") %}{% endfor %}") for count in (10, 20, 30)]
    assert turns[2] - turns[1] == turns[1] - turns[0] >= 10
