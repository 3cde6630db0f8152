"""What asks for the answer is found in one rendering, and is what a second one would tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chat.templates.common import PUBLISHED, template_of

QUESTION = {"role": "user", "content": "one"}
TALKS: list[list[dict[str, Any]]] = [
    [QUESTION],
    [QUESTION, {"role": "assistant", "content": "<think>so</think>first"}, QUESTION],
]
LAST = "{% if add_generation_prompt %}ask{{ messages | length }}{% endif %}"


@pytest.mark.parametrize("name", [*PUBLISHED])
def test_published_templates_end_without_it_as_if_it_were_not_asked_for(name: str) -> None:
    template = template_of(PUBLISHED[name])
    for talk in TALKS:
        for thinking in (None, False, True):
            asking = template.render(talk, enable_thinking=thinking)
            without = template.render(talk, enable_thinking=thinking, add_generation_prompt=False)
            assert asking.lead is None or asking.text[: len(asking.text) - asking.lead] == without.text
            assert without.lead in (None, 0)


def test_most_of_them_tell_it() -> None:
    known = [name for name, text in PUBLISHED.items() if template_of(text).render(TALKS[0]).lead is not None]
    assert 2 * len(known) > len(PUBLISHED)


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("{{ messages[0].content }}" + LAST, 4),
        ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}x" + LAST, 4),
        ("x{% if add_generation_prompt and messages | length > 1 %}ask{% endif %}", 0),
        ("x" + LAST + "y", None),
        ("x" + LAST + LAST, None),
        ("x{% if messages and add_generation_prompt %}ask{% endif %}", None),
        ("x{% if add_generation_prompt %}ask{% else %}no{% endif %}", None),
        ("x{{ add_generation_prompt }}" + LAST, None),
        ("", None),
    ],
)
def test_it_is_known_only_where_nothing_else_depends_on_it(text: str, lead: int | None) -> None:
    rendered = template_of(text).render([QUESTION])
    assert rendered.lead == lead
