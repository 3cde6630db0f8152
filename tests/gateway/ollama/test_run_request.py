"""Requests of Ollama's clients: what becomes of each field, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.ollama.run_request import read_chat, read_generate
from rkllmd.gateway.pictures.given import Picture
from rkllmd.gateway.run import Residence

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, {}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": 2}),
        ({"options": {"num_predict": 3, "num_ctx": 8192}, "keep_alive": -1}, {"max_new_tokens": 3}),
        ({"options": {"num_predict": -1}}, {}),
        (
            {"options": {"temperature": 0.5, "seed": 7, "stop": ["a"], "repeat_last_n": 64}},
            {"sampling_params": {"temperature": 0.5}, "seed": 7, "stop": ["a"]},
        ),
        ({"think": False, "format": ""}, {"enable_thinking": False}),
        ({"think": "low"}, {"enable_thinking": True}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}}, {"tools": [TOOL], "tool_choice": NAMED}),
        ({"tools": [TOOL], "tool_choice": NAMED}, {"tools": [TOOL], "tool_choice": NAMED}),
        (
            {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 3},
            {"sampling_params": {"temperature": 0.5, "top_p": 0.9}, "max_new_tokens": 3},
        ),
        (
            {"temperature": 0, "max_output_tokens": 3, "options": {"temperature": 0.5, "num_predict": -1}},
            {"sampling_params": {"temperature": 0.5}},
        ),
        ({"format": "json"}, {"format": "json"}),
        ({"format": {"enum": [1]}}, {"format": {"enum": [1]}}),
    ],
)
def test_fields_become_parameters(fields: dict[str, Any], shown: dict[str, Any]) -> None:
    wanted = read_chat({"model": "demo", "messages": HELLO, **fields})
    assert (wanted.model, wanted.params, wanted.streams) == ("demo", {"messages": HELLO, **shown}, True)
    assert read_chat({"messages": HELLO, "stream": False}).streams is False


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "me"}]}, "messages[0].role"),
        ({"messages": [{"content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "images": ["AAA"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function.name"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"temprature": 1}}, "options.temprature"),
        ({"options": {"repeat_last_n": 3}}, "options.repeat_last_n"),
        ({"think": "much"}, "think"),
        ({"format": "xml"}, "format"),
        ({"suffix": "a"}, "suffix"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search_preview", "name": "f"}}, "tool_choice.type"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        read_chat({"messages": HELLO, **fields})
    assert refused.value.name == name


def test_messages_become_the_daemons() -> None:
    given = [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "21", "tool_name": "f"},
    ]
    assert read_chat({"messages": given}).params["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning": "Hm.",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "21"},
    ]


def test_a_prompt_is_a_question() -> None:
    wanted = read_generate({"prompt": "Hello", "system": "Be brief.", "raw": False, "suffix": ""})
    assert wanted.params == {"messages": [{"role": "system", "content": "Be brief."}, *HELLO]}
    for wrong, name in (
        ({"prompt": 1}, "prompt"),
        ({"prompt": "a", "raw": 1}, "raw"),
        ({"prompt": "a", "raw": True, "system": "Be brief."}, "system"),
        ({"prompt": "a", "raw": True, "think": True}, "think"),
        ({"prompt": "a", "template": "{{ .Prompt }}"}, "template"),
        ({"prompt": "a", "messages": []}, "messages"),
    ):
        with pytest.raises(WrongField) as refused:
            read_generate(wrong)
        assert refused.value.name == name


def test_pictures_stand_before_the_text() -> None:
    image = {"type": "image", "image": Picture("messages[0].images[0]", b"\0\1\2")}
    said = read_chat({"messages": [{"role": "user", "content": "Hi", "images": ["AAEC"]}]}).params["messages"]
    assert said == [{"role": "user", "content": [image, {"type": "text", "text": "Hi"}]}]
    asked = read_generate({"prompt": "Hi", "images": ["AAEC"]}).params["messages"]
    assert asked[0]["content"][0]["image"] == Picture("images[0]", b"\0\1\2")


def test_a_prompt_may_be_given_as_it_is() -> None:
    wanted = read_generate({"prompt": "a", "raw": True, "think": False, "images": [], "options": {"num_predict": 3}})
    assert wanted.params == {"prompt": "a", "bare": True, "max_new_tokens": 3}
    wanted = read_generate({"prompt": "a", "suffix": "c"})
    assert wanted.params == {"prompt": "a", "bare": True, "suffix": "c"}


@pytest.mark.parametrize(
    ("keep_alive", "residence"),
    [
        (None, Residence.LOADED),
        (-1, Residence.LOADED),
        ("5m", Residence.LOADED),
        ("10m", Residence.LOADED),
        (0, Residence.UNLOADED),
        ("0", Residence.UNLOADED),
        ("0s", Residence.UNLOADED),
    ],
)
def test_without_words_a_model_is_loaded_or_unloaded(keep_alive: object, residence: Residence) -> None:
    asked = {"model": "demo", "keep_alive": keep_alive, "options": {"num_ctx": 8}}
    found = [
        read_generate({**asked, "prompt": "", "system": "", "suffix": ""}),
        read_chat({**asked, "messages": [], "stream": True}),
        read_chat(asked),
    ]
    assert [(item.model, item.params, item.streams) for item in found] == [("demo", {}, False)] * 3
    assert [item.residence for item in found] == [residence] * 3
    with pytest.raises(WrongField):
        read_chat({**asked, "mesages": []})
