"""What the demo model means by its answers: it thinks where it may, and calls functions."""

from __future__ import annotations

import pytest

from tests.daemon import Daemon, Start

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture(scope="module")
def demo(start_for_module: Start) -> Daemon:
    return start_for_module("--model", "demo", runtime="portable")


def test_a_function_is_called_and_its_result_is_read(demo: Daemon) -> None:
    messages = [{"role": "user", "content": "What is the weather in Berlin?"}]
    with demo.connect() as wire:
        called = wire.ask("rkllm.run", {"messages": messages, "tools": TOOLS})["result"]
        (call,) = called["tool_calls"]
        assert call["function"] == {"name": "get_weather", "arguments": {"city": "Berlin"}}
        assert (called["text"], called["finish_reason"]) == ("", "tool_calls")
        messages += [
            {"role": "assistant", "content": called["text"], "tool_calls": called["tool_calls"]},
            {"role": "tool", "content": '{"temperature": 21}', "tool_call_id": call["id"]},
        ]
        told = wire.ask("rkllm.run", {"messages": messages, "tools": TOOLS})["result"]
        assert "21" in told["text"]
        assert told["finish_reason"] == "stop"
        assert told["cached_tokens"] >= called["prompt_tokens"]


def test_it_thinks_where_it_may(demo: Daemon) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    with demo.connect() as wire:
        thought = wire.ask("rkllm.run", {"messages": messages, "enable_thinking": True})["result"]
        plain = wire.ask("rkllm.run", {"messages": messages})["result"]
    assert thought["reasoning"]
    assert "think>" not in thought["reasoning"] + thought["text"]
    assert thought["text"] == thought["text"].lstrip()
    assert "reasoning" not in plain
