"""Schemas as llguidance knows them: what it refuses is named, and what it would need much for is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from llguidance import LLParserLimits

from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.language.guided.grammar import Grammar, check_installed
from rkllmd.language.guided.schema.schemas import rewrite


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"maxProperties": 3, "properties": {"a": {}}}, "minProperties"),
        ({"patternProperties": {"a": {}, "b": {}}}, "patternProperties"),
        ({"$ref": "#"}, "format"),
        ({"type": "string", "allOf": [{"type": "null"}]}, "format"),
        # The product of many alternatives.
        ({"allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(6)]} for i in range(6)]}, "format"),
    ],
)
def test_what_the_judge_can_not_take_is_named(schema: Any, keyword: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        Grammar(rewrite(schema))
    assert caught.value.data == {"path": "$.format", "keyword": keyword}


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.delitem(sys.modules, "llguidance", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotSupported) as caught:
        check_installed()
    assert "pip install llguidance" in caught.value.message.replace("'", "").replace(">=1.9.1,<2", "")


def test_what_strings_may_need_is_known() -> None:
    schema = rewrite({"properties": {"a": {"pattern": "^é@$"}}, "anyOf": [{"pattern": "x"}]})
    assert Grammar(schema).hints == "é@x".encode()


def test_what_one_answer_costs_the_judge_is_not_paid_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    few = LLParserLimits(max_lexer_states=300)
    monkeypatch.setattr("rkllmd.language.guided.grammar._limits", lambda: few)
    grammar = Grammar(rewrite({"type": "string", "maxLength": 10_000}))
    for _ in range(2):
        matcher, taken = grammar.on_bytes(), 0
        while matcher.consume_token(ord("a" if taken else '"')) and not matcher.is_error():
            matcher.compute_bitmask()
            taken += 1
        assert 10 < taken < 1000
