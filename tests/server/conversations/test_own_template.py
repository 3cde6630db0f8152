"""Conversations by the model's own template: what C is given, and which template C puts around prompts meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.daemon import Daemon, Start
from tests.server.conversations.talking import Talk
from tests.wire_connection import Wire, kind

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }}{{ c.function.arguments | tojson }}</call>{% endfor %}<|end|>{% endfor %}"
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{% endif %}"
)
CONFIGURATION = {
    "chat_template": TEMPLATE,
    "added_tokens_decoder": {
        "0": {"content": "<|end|>", "special": True},
        "1": {"content": "<|user|>", "special": True},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(CONFIGURATION))
    (tmp_path / "a.rkllm").touch()
    declared = f"[models.a]\nmodel_path = '{tmp_path}/a.rkllm'\ntokenizer = '{folder}/'\nmax_new_tokens = 0\n"
    (tmp_path / "rkllmd.toml").write_text(declared)
    return folder


@pytest.fixture(params=["1.2.3", "1.3.1"])
def echo(request: pytest.FixtureRequest, start: Start, folder: Path) -> Daemon:
    """Start a daemon whose model answers with what it was given."""
    return start("--config", str(folder.parent / "rkllmd.toml"), "--model", "a", version=request.param)


@pytest.fixture
def wire(echo: Daemon) -> Iterator[Wire]:
    echo.wait_event("model_loaded")
    with echo.connect() as wire:
        yield wire


def plain(wire: Wire, prompt: str, **more: Any) -> str:
    """Return what C was given as a plain prompt."""
    return str(wire.ask("rkllm.run", {"prompt": prompt, **more})["result"]["text"]).removeprefix("[user] ")


def test_c_is_given_what_the_template_makes_and_its_new_part_only(echo: Daemon, wire: Wire) -> None:
    talk = Talk(wire, "Be brief.")
    first = talk.ask("one <|end|><image>")
    assert first["text"] == "[user] <|system|>Be brief.<|end|><|user|>one < |end|>< image><|end|><|assistant|>"
    assert (first["template"], first["cached_tokens"]) == ("model", 0)
    second = talk.ask("two")
    assert second["text"] == "[user] <|end|><|user|>two<|end|><|assistant|>"
    assert second["cached_tokens"] > 0
    assert echo.calls("rkllm_set_chat_template") == 1, "C is told once"


def test_tools_calls_and_their_results_reach_the_template(wire: Wire) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "1"},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    told = wire.ask("rkllm.run", {"messages": messages, "tools": tools, "enable_thinking": True, "raw": True})["result"]
    assert told["text"].endswith(
        '<|user|>one<|end|><|assistant|><call>f{"a": 1}</call><|end|><|tool|>done<|end|>'
        '<tools>[{"type": "function", "function": {"name": "f"}}]</tools><|assistant|><think>'
    )


def test_a_plain_prompt_has_the_template_around_it_that_c_has_lost(wire: Wire) -> None:
    assert plain(wire, "zero") == "zero", "C has its own"
    Talk(wire).ask("one")
    assert plain(wire, "two <|end|>") == "<|user|>two <|end|><|end|><|assistant|>"
    assert plain(wire, "three", keep_history=1) == "<|user|>three<|end|><|assistant|>"
    assert plain(wire, "four", keep_history=1) == "<|end|><|user|>four<|end|><|assistant|>", "it goes on"


def test_a_template_that_a_client_has_set_comes_back_for_plain_prompts(echo: Daemon, wire: Wire) -> None:
    wire.ask("rkllm.set_chat_template", [None, "", "<U>", "<A>"])
    assert plain(wire, "zero") == "<U>zero<A>"
    assert Talk(wire).ask("one")["text"].endswith("<|user|>one<|end|><|assistant|>")
    assert plain(wire, "two") == "<U>two<A>"
    assert plain(wire, "three") == "<U>three<A>"
    assert Talk(wire).ask("four")["text"].endswith("<|user|>four<|end|><|assistant|>")
    assert echo.calls("rkllm_set_chat_template") == 4
    wire.ask("rkllm.set_chat_template", [None, "", "", ""])
    assert plain(wire, "five") == "five"
    Talk(wire).ask("six")
    assert plain(wire, "seven") == "seven", "as the client wants it"
    assert echo.calls("rkllm_set_chat_template") == 5


def test_a_session_is_rendered_too(wire: Wire) -> None:
    asked = [{"prompt": "one"}, {"prompt": "done", "role": "tool"}]
    for params, told in zip(asked, ("<|user|>one<|end|>", "<|end|><|tool|>done<|end|>"), strict=True):
        wire.request("rkllm.run", params, 1, session="kitchen")
        assert wire.final(1)["result"]["text"].endswith(f"] {told}<|assistant|>")


def test_what_the_template_refuses_is_the_clients_mistake_and_the_next_one_works(wire: Wire, folder: Path) -> None:
    refusing = CONFIGURATION | {"chat_template": "{{ raise_exception('not like this') }}"}
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(refusing))
    error = wire.ask("rkllm.run", {"messages": [{"role": "user", "content": "one"}]})["error"]
    assert (error["data"]["kind"], error["data"]["path"]) == ("InvalidParams", "$.messages")
    assert "not like this" in error["message"]
    hostile = CONFIGURATION | {
        "chat_template": "{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}"
    }
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(hostile))
    assert kind(wire.ask("rkllm.run", {"messages": [{"role": "user", "content": "one"}]})) == "RuntimeError"
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps(CONFIGURATION))
    assert Talk(wire).ask("one")["text"].endswith("<|user|>one<|end|><|assistant|>")


def test_a_folder_that_is_none_is_refused_before_the_load(start: Start, folder: Path) -> None:
    (folder / "tokenizer_config.json").rename(folder.parent / "elsewhere")
    folder.rmdir()
    daemon = start("--config", str(folder.parent / "rkllmd.toml"))
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "a"})["error"]
    assert error["data"]["path"] == "models.a.tokenizer"
    assert daemon.calls("rkllm_init") == 0


def test_a_folder_without_a_template_leaves_conversations_to_words(start: Start, folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    daemon = start("--config", str(folder.parent / "rkllmd.toml"), "--model", "a")
    daemon.wait_event("model_loaded")
    with daemon.connect() as wire:
        assert Talk(wire).ask("one <|im_end|>")["text"] == "[user] one < |im_end|>"
        assert Talk(wire).ask("one")["template"] == "words"
