"""The form of one run: what was asked for, and what an answer still needs."""

from __future__ import annotations

import json

import pytest

from rkllmd.errors import InvalidParams
from tests.language.guided.schema_maker import form_of

PAIR = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}


def test_json_is_an_object() -> None:
    form = form_of("json")
    assert form.rest("") == "{}"
    assert form.rest("[") is None
    assert form.fault("[]") is not None


@pytest.mark.parametrize(
    ("text", "rest"), [("", '[0,""]'), ("[12", ',""]'), ('[12, "é"]', ""), ("[x", None), ("[1]", None)]
)
def test_what_an_answer_needs_to_be_whole(text: str, rest: str | None) -> None:
    form = form_of(PAIR)
    assert form.rest(text) == rest
    if rest is not None:
        assert form.fault(text + rest) is None


def test_a_schema_without_an_end_is_refused_before_anything_runs() -> None:
    form = form_of({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    with pytest.raises(InvalidParams) as caught:
        form.grammar()
    assert caught.value.data["path"] == "$.format"


def test_one_schema_is_read_once() -> None:
    assert form_of(PAIR).grammar() is form_of(json.loads(json.dumps(PAIR))).grammar()
