"""In which forms a template takes what a message has."""

from __future__ import annotations

import pytest
from jinja2 import TemplateError

from rkllmd.chat.templates.forms import Forms, ask, joined
from rkllmd.chat.templates.sandbox.budget import LEAST_UNITS, limited
from rkllmd.chat.templates.sandbox.environment import ChatEnvironment
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from tests.chat.templates.common import PUBLISHED, ours

ONLY_PARTS = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def forms_of(template: str) -> Forms:
    environment = ChatEnvironment()

    def render(messages: list[JsonObject], tools: list[JsonObject] | None) -> str | None:
        with limited(LEAST_UNITS):
            compiled = environment.compiled(template)
        try:
            with limited(LEAST_UNITS):
                return compiled.render(messages=messages, tools=tools, bos_token="", add_generation_prompt=False)
        except (TemplateError, TypeError):
            return None

    return ask(render)


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("qwen2", Forms(True, False, True, tools=False, calls=False)),
        ("qwen2_5", Forms(True, False, True)),
        ("gemma", Forms(True, True, True, tools=False, calls=False)),
        ("deepseek_r1", Forms(True, False, False, tools=False, late_system=False)),
        ("minicpm", Forms(True, False, True, late_system=False)),
    ],
)
def test_a_template_is_asked_what_it_takes(name: str, forms: Forms) -> None:
    assert forms_of(PUBLISHED[name]) == forms


def test_a_template_for_pictures_may_take_parts_only() -> None:
    assert forms_of(ONLY_PARTS) == Forms(False, True, True, tools=False, calls=False)
    assert ours(ONLY_PARTS, [{"role": "user", "content": "hello"}]) == "hello"


def test_a_template_that_shows_nothing_is_given_texts() -> None:
    assert forms_of("") == Forms(True, False, True, tools=False, calls=False, system=False, late_system=False)


def test_a_template_may_take_the_system_at_the_beginning_only() -> None:
    shown = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert forms_of(shown).late_system
    refused = "{% if m.role == 'system' and not loop.first %}{{ raise_exception('too late') }}{% endif %}"
    found = forms_of(shown.replace("{{ m.role }}", refused + "{{ m.role }}"))
    assert (found.system, found.late_system) == (True, False)


def test_content_gets_the_form_that_is_taken() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert Forms(True, False, True).message({"role": "user", "content": parts}) == {"role": "user", "content": "ab"}
    assert Forms(True, True, True).message({"content": parts})["content"] == parts
    assert Forms(False, True, True).message({"content": "a"})["content"] == [{"type": "text", "text": "a"}]
    assert Forms(True, False, True).message({"content": None, "name": None}) == {}
    assert joined(parts) == "ab"


def test_a_template_may_refuse_the_system() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}"
    assert not forms_of(refusing).system


@pytest.mark.parametrize(
    ("given", "as_object", "as_text"),
    [
        ({"a": 1}, {"a": 1}, '{"a":1}'),
        ('{"a": 1}', {"a": 1}, '{"a": 1}'),
        ("", {}, ""),
        ("no JSON", "no JSON", "no JSON"),
        ("[1]", "[1]", "[1]"),
    ],
)
def test_arguments_get_the_form_that_is_taken(given: Json, as_object: Json, as_text: Json) -> None:
    def arguments(forms: Forms) -> Json:
        call = {"id": "1", "function": {"name": "f", "arguments": given}}
        formed = forms.with_arguments({"role": "assistant", "tool_calls": [call]})
        return formed["tool_calls"][0]["function"]["arguments"]

    assert arguments(Forms(True, True, object_arguments=True)) == as_object
    assert arguments(Forms(True, True, object_arguments=False)) == as_text


def test_calls_of_another_shape_stay_as_they_are() -> None:
    calls = [{"name": "f", "arguments": "{}"}, "x", {"function": "f"}]
    assert Forms(True, True, True).with_arguments({"tool_calls": calls})["tool_calls"] == calls


def test_arguments_that_are_nested_too_deeply_are_refused() -> None:
    call = {"function": {"name": "f", "arguments": '{"a":' * 500 + "1" + "}" * 500}}
    with pytest.raises(InvalidParams, match="nested more than"):
        Forms(True, True, True).with_arguments({"role": "assistant", "tool_calls": [call]})
