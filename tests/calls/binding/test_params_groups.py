"""Objects around several plain parameters, as older clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.calls.binding.bound import bound, place, refused


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"template_config": {"system_prompt": "a"}}, {"system_prompt": ("a", "$.template_config.system_prompt")}),
        (
            {"handle": 3, "template_config": {"prompt_prefix": "b", "prompt_postfix": None}},
            {"handle": (3, "$.handle"), "prompt_prefix": ("b", "$.template_config.prompt_prefix")},
        ),
        (
            {"system_prompt": "a", "template_config": {"prompt_prefix": "b"}},
            {"system_prompt": ("a", "$.system_prompt"), "prompt_prefix": ("b", "$.template_config.prompt_prefix")},
        ),
        ([{"system_prompt": "a"}], {"system_prompt": ("a", "$[0].system_prompt")}),
        ([None, {"system_prompt": "a"}], {"system_prompt": ("a", "$[1].system_prompt")}),
        ([3, {"system_prompt": "a"}], {"handle": (3, "$[0]"), "system_prompt": ("a", "$[1].system_prompt")}),
        ([{}], {}),
        ({"template_config": {}}, {}),
    ],
)
def test_group(params: Any, expected: dict[str, Any]) -> None:
    assert bound("rkllm.set_chat_template", params) == expected


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({"template_config": {"system_prompt": 5}}, "$.template_config.system_prompt", "type"),
        ({"template_config": {"promptprefix": "x"}}, "$.template_config.promptprefix", "additionalProperties"),
        ({"template_config": "x"}, "$.template_config", "additionalProperties"),
        (
            {"system_prompt": "a", "template_config": {"system_prompt": "b"}},
            "$.template_config.system_prompt",
            "uniqueItems",
        ),
        (
            {"template_config": {"template_config": {"system_prompt": "b"}}},
            "$.template_config.template_config",
            "additionalProperties",
        ),
        ([{"system_prompt": 5}], "$[0].system_prompt", "type"),
        ([3, {"handle": 4}], "$[1].handle", "uniqueItems"),
        ([None, {"promptprefix": "x"}], "$[1].promptprefix", "additionalProperties"),
        # No position may be lost because an object follows it.
        (["a", {"prompt_prefix": "b"}], "$[1]", "type"),
        ([None, "a", {"prompt_prefix": "b"}], "$[2]", "type"),
    ],
)
def test_group_errors(params: Any, path: str, keyword: str) -> None:
    assert place(refused("rkllm.set_chat_template", params)) == (path, keyword)


def test_tools_may_be_an_object_in_their_own_position() -> None:
    tools = {"tools": [], "system_prompt": "not ours"}
    assert bound("rkllm.set_function_tools", [None, "system", tools]) == {
        "system_prompt": ("system", "$[1]"),
        "tools": (tools, "$[2]"),
    }
    assert bound("rkllm.set_function_tools", [None, {"tools": []}]) == {"tools": ([], "$[1].tools")}
    assert bound("rkllm.set_function_tools", {"tools_config": {"tools": "[]"}}) == {
        "tools": ("[]", "$.tools_config.tools")
    }
