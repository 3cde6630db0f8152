"""Each field of a request is taken with its check, and what is left over is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, Names, WrongField


@pytest.mark.parametrize(
    ("take", "value"),
    [
        ("text", 1),
        ("flag", 1),
        ("number", "1"),
        ("number", True),
        ("number", math.inf),
        ("integer", 1.5),
        ("objects", [1]),
        ("objects", {}),
        ("texts", [1]),
        ("inner", []),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_path(take: str, value: Any) -> None:
    with pytest.raises(WrongField) as refused:
        getattr(Fields({"name": value}, "messages[0]"), take)("name")
    assert refused.value.name == "messages[0].name"
    assert str(refused.value).startswith("messages[0].name must be ")


def test_null_is_as_if_left_out() -> None:
    fields = Fields({"a": None, "b": None})
    assert (fields.text("a"), fields.objects("b"), fields.texts("c"), fields.integer("d")) == (None,) * 4
    fields.end()


def test_what_has_to_be_there_is_missed_by_its_path() -> None:
    assert Fields({"name": ""}).needed("name") == ""
    for given in ({}, {"name": None}):
        with pytest.raises(WrongField, match=r"^a\.name is missing\.$"):
            Fields(given, "a").needed("name")
        with pytest.raises(WrongField, match=r"^name is missing: give one\.$"):
            Fields(given).needed("name", "give one.")


def test_whole_numbers_have_a_least_value() -> None:
    assert Fields({"n": 3.0}).integer("n", 1) == 3
    with pytest.raises(WrongField, match=r"^n must be a whole number of at least 1\.$"):
        Fields({"n": 0}).integer("n", 1)


@pytest.mark.parametrize("number", [1e23, -1e23, 2.0**64])
def test_whole_numbers_fit_into_what_the_daemon_is_sent(number: float) -> None:
    with pytest.raises(WrongField, match=r"^seed has too many digits\.$"):
        Fields({"seed": number}).integer("seed")


def test_a_string_is_an_array_of_one() -> None:
    assert Fields({"stop": "a"}).texts("stop") == ["a"]
    assert Fields({"stop": ["a", "b"]}).texts("stop") == ["a", "b"]


def test_what_changes_nothing_may_be_said_and_nothing_else() -> None:
    Fields({"n": 1, "logit_bias": {}}).neutral({"n": (1,), "logit_bias": ({},)})
    for value in (2, True, "1"):
        with pytest.raises(WrongField, match=r"^n is not supported"):
            Fields({"n": value}).neutral({"n": (1,)})


def test_what_is_left_over_is_refused_by_name() -> None:
    fields = Fields({"model": "demo", "max_token": 3})
    fields.text("model")
    with pytest.raises(WrongField, match=r"^max_token is not a field"):
        fields.end()


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(WrongField, match="must be a JSON object"):
        Fields([1])


def test_a_choice_is_one_of_some() -> None:
    with pytest.raises(WrongField, match=r"^role must be one of user, tool\.$"):
        Fields({"role": "me"}).choice("role", ("user", "tool"))


def test_parameters_that_have_moved_are_the_fields_that_they_were() -> None:
    names = Names()
    names.add("tools[1].function", "tools[1]")
    names.add("tools[2].function", "tools[2].custom")
    names.move({"tools[0].function": "tools[1].function", "tools[1].function": "tools[2].function"})
    names.move({"tools[2].function": "tools[7].function"})
    fields = [names.field(f"tools[{index}].function.name") for index in range(3)]
    assert fields == ["tools[1].name", "tools[2].custom.name", "tools[7].function.name"]


@pytest.mark.parametrize(
    ("parameter", "field"),
    [
        ("max_new_tokens", "max_tokens"),
        ("format.properties.a.type", "output.schema.properties.a.type"),
        ("format", "output.schema"),
        ("formats", "formats"),
        ("tools[0].function.name", "tools[0].name"),
        ("tools[0].function.parameters.type", "tools[0].input_schema.type"),
        ("tools[1].function.name", "tools[1].function.name"),
        ("messages", "messages"),
        ("messages[0].content", "system"),
        ("messages[1].content[2].text", "messages[0]"),
        ("messages[2]", "messages[2]"),
        ("", ""),
    ],
)
def test_a_parameter_is_a_field_by_the_longest_path_that_is_known(parameter: str, field: str) -> None:
    names = Names()
    names.add("max_new_tokens", "max_tokens")
    names.add("format", "output.schema")
    names.add("tools[0].function", "tools[0]")
    names.add("tools[0].function.parameters", "tools[0].input_schema")
    names.add_messages(("system", "messages[0]"))
    assert names.field(parameter) == field
