"""Answers in a form, on the real daemon: the portable runtime, which is asked before each token."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.language.guided.schema_maker import REFUSED, SchemaMaker, is_valid
from tests.portable.gguf_files import DEMO
from tests.wire_connection import Wire, kind

# 500 with `make fuzz`.
SCHEMAS = int(os.environ.get("RKLLMD_SCHEMAS", "60"))
LAMP = {
    "type": "object",
    "properties": {"room": {"enum": ["kitchen", "bath"]}, "brightness": {"type": "integer", "minimum": 1}},
    "required": ["room", "brightness"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def demo(start_for_module: Start) -> Daemon:
    return start_for_module("--model", "demo", runtime="portable")


def run(wire: Wire, form: Any, **params: Any) -> dict[str, Any]:
    asked = {"prompt": "Tell me a story.", "format": form, "max_new_tokens": 60, **params}
    answer: dict[str, Any] = wire.ask("rkllm.run", asked)
    return answer


def test_the_answer_is_the_json_that_was_asked_for(demo: Daemon) -> None:
    with demo.connect() as wire:
        result = run(wire, LAMP)["result"]
        assert is_valid(result["text"], LAMP)
        assert result["finish_reason"] == "stop"
        anything = run(wire, "json")["result"]
        assert isinstance(json.loads(anything["text"]), dict)
        assert run(wire, {"enum": ["nö"]})["result"]["text"] == '"nö"'
        # Guided runs leave nothing behind.
        assert not wire.ask("rkllm.run", {"prompt": "What is an NPU?"})["result"]["text"].startswith("{")


def test_an_answer_that_reaches_its_limit_is_ended(demo: Daemon) -> None:
    with demo.connect() as wire:
        form = {"type": "array", "minItems": 3, "items": {"type": "string", "minLength": 20}}
        result = run(wire, form, max_new_tokens=8)["result"]
        assert result["finish_reason"] == "length"
        assert is_valid(result["text"], form)
        assert result["perf"]["generate_tokens"] <= 8


def test_partial_results_make_up_the_final_text(demo: Daemon) -> None:
    with demo.connect() as wire:
        asked = {"prompt": "Hi", "format": {"type": "string", "minLength": 40}, "max_new_tokens": 10}
        wire.request("rkllm.run_async", asked, "run")
        texts, final = [], {}
        while "finish_reason" not in final:
            final = wire.receive()["result"]
            texts.append(final["text"])
        assert is_valid("".join(texts), asked["format"])
        assert final["finish_reason"] == "length"


def test_a_stop_string_ends_the_text_and_not_the_form(demo: Daemon) -> None:
    with demo.connect() as wire:
        form = {"type": "object", "properties": {"a": {"const": "one two"}, "b": {}}, "required": ["a", "b"]}
        result = run(wire, form, stop=["two"])["result"]
        assert (result["finish_reason"], result["stop_sequence"]) == ("stop", "two")
        assert is_valid(result["text"], form)


def asked_with_weather(wire: Wire, question: str, **params: Any) -> dict[str, Any]:
    """Return the answer to a question, of one who may call a function that the demo model knows."""
    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "get_weather", "description": "Get the weather of a city.", "parameters": city}
    messages = [{"role": "user", "content": question}]
    asked = {"messages": messages, "tools": [{"type": "function", "function": tool}], "format": LAMP, **params}
    return wire.ask("rkllm.run", asked)


def test_a_function_is_called_beside_a_form_where_the_model_would_call_it(demo: Daemon) -> None:
    with demo.connect() as wire:
        called = asked_with_weather(wire, "What is the weather in Oslo?")["result"]
        [call] = called["tool_calls"]
        assert call["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}
        assert (called["text"], called["finish_reason"]) == ("", "tool_calls")
        said = asked_with_weather(wire, "Hello")["result"]
        assert is_valid(said["text"], LAMP)
        assert "tool_calls" not in said
        none = asked_with_weather(wire, "What is the weather in Oslo?", tool_choice="none")["result"]
        assert is_valid(none["text"], LAMP)


def test_a_function_is_called_beside_a_form_in_a_shared_batch(start: Start) -> None:
    daemon = start(runtime="portable")
    daemon.load(model_path=str(DEMO), max_context_len=512, extend_param={"n_batch": 2})
    with daemon.connect() as wire:
        [call] = asked_with_weather(wire, "What is the weather in Oslo?")["result"]["tool_calls"]
        assert call["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}
        assert is_valid(asked_with_weather(wire, "Hello")["result"]["text"], LAMP)


def test_a_call_that_its_limit_cuts_off_is_no_answer(demo: Daemon) -> None:
    with demo.connect() as wire:
        answer = asked_with_weather(wire, "What is the weather in Oslo?", max_new_tokens=3)
        assert (kind(answer), answer["error"]["data"]["finish_reason"]) == ("FormatNotMet", "length")


@pytest.mark.parametrize("keyword", REFUSED)
def test_what_cannot_be_guaranteed_is_refused_by_name(demo: Daemon, keyword: str) -> None:
    with demo.connect() as wire:
        answer = run(wire, {"type": "object", "properties": {"a": {keyword: REFUSED[keyword]}}})
        assert kind(answer) == "InvalidParams"
        assert answer["error"]["data"]["path"].startswith(f"$.format.properties.a.{keyword}")


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({"$ref": "#"}, "$.format"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "$.format"),
        ("xml", "$.format"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$.format"),
    ],
)
def test_a_schema_that_nothing_fits_is_refused(demo: Daemon, form: Any, path: str) -> None:
    with demo.connect() as wire:
        answer = run(wire, form)
        assert (kind(answer), answer["error"]["data"]["path"]) == ("InvalidParams", path)


def test_schemas_at_random(demo: Daemon) -> None:
    judged = 0
    with demo.connect() as wire:
        for seed in range(SCHEMAS):
            schema = SchemaMaker(seed).make()
            warm = {"temperature": 2.0, "top_k": 1000, "top_p": 1.0}
            answer = run(wire, schema, max_new_tokens=30, sampling_params=warm, seed=seed)
            if kind(answer) == "InvalidParams":
                continue
            judged += 1
            assert is_valid(answer["result"]["text"], schema), (seed, answer)
    assert judged > SCHEMAS / 2


def test_only_generated_text_has_a_form(demo: Daemon) -> None:
    with demo.connect() as wire:
        answer = run(wire, LAMP, mode="RKLLM_INFER_GET_LOGITS")
        assert (kind(answer), answer["error"]["data"]["path"]) == ("InvalidParams", "$.format")


def test_an_answer_to_messages_has_a_form_too(demo: Daemon) -> None:
    with demo.connect() as wire:
        messages = [{"role": "user", "content": "What is an NPU?"}]
        first = wire.ask("rkllm.run", {"messages": messages, "format": LAMP, "max_new_tokens": 60})["result"]
        assert is_valid(first["text"], LAMP)
        messages += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "And now?"}]
        second = wire.ask("rkllm.run", {"messages": messages, "format": LAMP, "max_new_tokens": 60})["result"]
        assert is_valid(second["text"], LAMP)
        assert second["cached_tokens"] > 0


def test_an_answer_that_must_be_a_call_is_one(demo: Daemon) -> None:
    room = {"properties": {"room": {"enum": ["bath"]}}, "required": ["room"], "additionalProperties": False}
    functions = [{"name": "light", "parameters": room}, {"name": "nothing", "parameters": {"maxProperties": 0}}]
    tools = [{"type": "function", "function": function} for function in functions]
    asked = {"messages": [{"role": "user", "content": "Hello"}], "tools": tools, "max_new_tokens": 60}
    with demo.connect() as wire:
        for choice in ("required", {"type": "function", "function": {"name": "light"}}):
            result = wire.ask("rkllm.run", {**asked, "tool_choice": choice})["result"]
            assert (result["finish_reason"], result["text"]) == ("tool_calls", ""), result
            (call,) = result["tool_calls"]
            assert call["function"]["name"] in ("light", "nothing")
        assert call["function"]["name"] == "light"
        assert call["function"]["arguments"]["room"] == "bath"
        wire.request("rkllm.run_async", {**asked, "tool_choice": choice}, "stream")
        shown, final = "", wire.receive()["result"]
        while "finish_reason" not in final:
            shown += "".join(call.get("arguments_text", "") for call in final.get("tool_calls", ()))
            final = wire.receive()["result"]
        assert json.loads(shown) == final["tool_calls"][0]["function"]["arguments"]
        assert "tool_calls" not in wire.ask("rkllm.run", {**asked, "tool_choice": "none"})["result"]
        refused = wire.ask("rkllm.run", {"prompt": "Hello", "tool_choice": "required"})
        assert (kind(refused), refused["error"]["data"]["path"]) == ("InvalidParams", "$.tool_choice")
