"""What a model means by its answer to ``messages``: reasoning, text, calls (protocol, section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Start

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
CALL = r'<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
ANSWER = rf"<think>\nWeather.\n</think>\n\nI look.\n{CALL}"
QUESTION = [{"role": "user", "content": "What is the weather in Zürich?"}]
FUNCTION = {"name": "get_weather", "arguments": {"city": "Zürich"}}


@pytest.fixture(scope="module")
def daemon(start_for_module: Any) -> Daemon:
    """Start a daemon whose model calls a function; a token has two bytes."""
    daemon: Daemon = start_for_module(scenario=f"text={ANSWER}")
    daemon.load(max_new_tokens=0)
    return daemon


def test_a_stream_shows_each_piece_as_what_it_is(daemon: Daemon) -> None:
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"messages": QUESTION, "tools": TOOLS}, 1)
        results = [message["result"] for message in wire.until_final(1)]
    final = results[-1]
    assert [result["seq"] for result in results] == list(range(len(results)))
    assert "".join(result["text"] for result in results) == "I look."
    assert "".join(result.get("reasoning", "") for result in results) == "Weather."
    shown = [call for result in results[:-1] for call in result.get("tool_calls", ())]
    assert {call["index"] for call in shown} == {0}
    assert (shown[0]["type"], shown[0]["function"]) == ("function", {"name": "get_weather"})
    assert len(shown) > 3, "as it comes"
    assert "".join(call.get("arguments_text", "") for call in shown) == '{"city": "Zürich"}'
    (call,) = final["tool_calls"]
    assert call == {
        "id": shown[0]["id"], "type": "function", "function": FUNCTION, "arguments_text": '{"city": "Zürich"}'
    }  # fmt: skip
    assert final["finish_reason"] == "tool_calls"


def test_one_result_has_it_whole_and_raw_is_as_the_model_wrote_it(daemon: Daemon) -> None:
    with daemon.connect() as wire:
        whole = wire.ask("rkllm.run", {"messages": QUESTION, "tools": TOOLS})["result"]
        raw = wire.ask("rkllm.run", {"messages": QUESTION, "tools": TOOLS, "raw": True})["result"]
        plain = wire.ask("rkllm.run", {"prompt": "Hello"})["result"]
        refused = wire.ask("rkllm.run", {"prompt": "Hello", "raw": True})["error"]
    assert (whole["text"], whole["reasoning"], whole["finish_reason"]) == ("I look.", "Weather.", "tool_calls")
    assert [call["function"] for call in whole["tool_calls"]] == [FUNCTION]
    text = ANSWER.replace(r"\n", "\n")
    assert (raw["text"], raw["finish_reason"]) == (plain["text"], plain["finish_reason"]) == (text, "stop")
    assert not {"reasoning", "tool_calls"} & {*raw, *plain}
    assert (refused["code"], refused["data"]["path"]) == (-32602, "$.raw")


def test_what_is_sent_back_goes_on_with_the_cache(daemon: Daemon) -> None:
    with daemon.connect() as wire:
        asked = {"messages": QUESTION, "tools": TOOLS}
        first = wire.ask("rkllm.run", asked)["result"]
        answer = {"role": "assistant", "content": first["text"], "tool_calls": first["tool_calls"]}
        messages = [*QUESTION, answer, {"role": "tool", "content": "21 degrees"}]
        second = wire.ask("rkllm.run", {**asked, "messages": messages})["result"]
        messages[1] = {**answer, "tool_calls": []}
        other = wire.ask("rkllm.run", {**asked, "messages": messages})["result"]
    assert second["cached_tokens"] > first["prompt_tokens"]
    assert other["cached_tokens"] == 0, "that is another answer"


def test_a_stop_string_within_a_call_leaves_text(daemon: Daemon) -> None:
    with daemon.connect() as wire:
        asked = {"messages": QUESTION, "tools": TOOLS, "stop": ["rich"]}
        result = wire.ask("rkllm.run", asked)["result"]
    assert result["text"].endswith('{"name": "get_weather", "arguments": {"city": "Zü')
    assert "tool_calls" not in result
    assert (result["finish_reason"], result["stop_sequence"]) == ("stop", "rich")


def test_a_template_may_open_reasoning_and_a_user_may_not(start: Start, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt and enable_thinking %}<|assistant|><think>\n{% endif %}"
    )
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(template)
    (tmp_path / "a.rkllm").touch()
    declared = (
        f"[models.a]\nmodel_path = '{tmp_path}/a.rkllm'\ntokenizer = '{tmp_path}/tokenizer/'\nmax_new_tokens = 0\n"
    )
    (tmp_path / "rkllmd.toml").write_text(declared)
    configured = ("--config", str(tmp_path / "rkllmd.toml"), "--model", "a")
    daemon = start(*configured, scenario=r"text=So it is.\n</think>\n\nYes.")
    daemon.wait_event("model_loaded")
    asked = {"messages": [{"role": "user", "content": "Say <think>"}]}
    with daemon.connect() as wire:
        thought = wire.ask("rkllm.run", {**asked, "enable_thinking": True})["result"]
        plain = wire.ask("rkllm.run", asked)["result"]
    assert (thought["template"], thought["reasoning"], thought["text"]) == ("model", "So it is.", "Yes.")
    assert (plain["text"], "reasoning" in plain) == ("So it is.\n</think>\n\nYes.", False)
