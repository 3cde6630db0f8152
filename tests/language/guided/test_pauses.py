"""Answers in a form where the runtime can't be asked before each token: it is paused at what is illegal."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Start
from tests.language.guided.schema_maker import SchemaMaker, is_valid
from tests.wire_connection import Wire, kind, streamed

LAMP = {
    "type": "object",
    "properties": {"room": {"enum": ["kitchen", "bath"]}, "brightness": {"type": "integer", "maximum": 255}},
    "required": ["room", "brightness"],
    "additionalProperties": False,
}
# 500 with `make fuzz`.
SCHEMAS = int(os.environ.get("RKLLMD_SCHEMAS", "60"))


class Board:
    """A daemon whose simulator says what a test writes."""

    def __init__(self, start: Start, folder: Path, version: str = "1.3.1") -> None:
        self.script = folder / "scenario"
        self.says("")
        self.daemon = start(scenario=f"@{self.script}", version=version)
        model = folder / "model.rkllm"
        model.touch()
        with self.daemon.connect() as wire:
            wire.ask("rkllm.init", {"model_path": str(model), "max_context_len": 4096})

    def says(self, text: str, **more: Any) -> None:
        """Let the model say ``text`` from now on."""
        escaped = "".join(f"\\x{byte:02x}" for byte in text.encode())
        lines = {"kv_ranges_need_pause": 1, **({"text": escaped} if text else {}), **more}
        beside = self.script.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        beside.rename(self.script)


@pytest.fixture(scope="module")
def board(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Board:
    return Board(start_for_module, tmp_path_factory.mktemp("board"))


def run(wire: Wire, form: Any, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = wire.ask("rkllm.run", {"prompt": "Hello", "format": form, **params})
    return answer


@pytest.mark.parametrize(
    ("says", "text"),
    [
        # As it should be, with the spaces that models like.
        ('\n{"room": "bath", "brightness": 20}\n\nBye!', '{"room": "bath", "brightness": 20}'),
        # Words before it; the schema forces the beginning.
        ('Sure! kitchen", "brightness": 7}', '{"room": "kitchen", "brightness": 7}'),
        # A value that is too large, and the end that is missing.
        ('{"room":"bath","brightness":2567', '{"room":"bath","brightness":256'),
        ('{"room":"cellar', '{"room":"'),
    ],
)
def test_what_is_illegal_is_never_shown(board: Board, says: str, text: str) -> None:
    board.says(says)
    with board.daemon.connect() as wire:
        result = run(wire, LAMP)["result"]
        assert is_valid(result["text"], LAMP), result
        assert result["text"].startswith(text[:9])
        if says.startswith("\n{"):
            assert result["text"] == text
        assert result["finish_reason"] == "stop"


def test_a_quotation_mark_that_was_forgotten_is_put_in(board: Board) -> None:
    board.says("{name: 1}", tokens="words")
    with board.daemon.connect() as wire:
        found = json.loads(run(wire, {"type": "object", "minProperties": 1})["result"]["text"])
        assert any("name" in name for name in found)


def test_one_request_is_one_stream_of_legal_pieces(board: Board) -> None:
    board.says('Of course: bath", "brightness": 20}')
    with board.daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hello", "format": LAMP}, "run")
        partials, final = [], wire.receive()["result"]
        while "finish_reason" not in final:
            partials.append(final)
            final = wire.receive()["result"]
        assert [item["seq"] for item in [*partials, final]] == list(range(len(partials) + 1))
        text = "".join(item["text"] for item in [*partials, final])
        assert is_valid(text, LAMP)
        assert any(item["token_id"] == -1 and item["text"] for item in partials), "words that are not the model's"
        assert wire.ask("rkllm.run", {"prompt": "Hello"})["result"]["finish_reason"] == "stop"


def test_a_model_that_says_nothing_of_use_comes_to_an_end(board: Board) -> None:
    board.says("?", repeat=10_000)
    with board.daemon.connect() as wire:
        form = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}
        assert is_valid(run(wire, form)["result"]["text"], form)
        form = {"type": "array", "items": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]*$"}}}
        assert is_valid(run(wire, form, max_new_tokens=20)["result"]["text"], form)


def test_the_limit_counts_the_tokens_of_all_calls(board: Board) -> None:
    board.says('no "' + "x" * 500)
    with board.daemon.connect() as wire:
        form = {"type": "string", "minLength": 5}
        result = run(wire, form, max_new_tokens=40)["result"]
        assert is_valid(result["text"], form)
        assert result["finish_reason"] == "length"
        assert 60 < len(result["text"]) < 90, "two bytes a token"


def test_a_stop_string_ends_it_too(board: Board) -> None:
    board.says("? one two three")
    with board.daemon.connect() as wire:
        result = run(wire, {"type": "string"}, stop=["two"])["result"]
        assert (result["text"], result["finish_reason"], result["stop_sequence"]) == ('"? one "', "stop", "two")


def test_an_aborted_run_says_so_and_leaves_nothing_behind(board: Board) -> None:
    board.says("no " + "x" * 100_000, pace_us=300)
    with board.daemon.connect() as wire, board.daemon.connect() as other:
        asked = {
            "prompt": "Hello",
            "format": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        }
        wire.request("rkllm.run_async", asked, "run")
        shown = ""
        while "xx" not in shown:
            shown += wire.receive()["result"]["text"]
        assert other.ask("rkllm.abort")["result"]["aborted"]
        final = wire.receive()["result"]
        while "finish_reason" not in final:
            final = wire.receive()["result"]
        assert final["finish_reason"] == "abort"
        assert shown.startswith('{"a": "')
        board.says("Hi")
        assert other.ask("rkllm.run", {"prompt": "Hello"})["result"]["text"] == "Hi"


def test_what_has_no_pause_is_refused(board: Board) -> None:
    with board.daemon.connect() as wire:
        assert kind(run(wire, LAMP, keep_history=1)) == "NotSupported"
        session = wire.ask("rkllm.run", {"prompt": "Hello", "format": LAMP}, session="chat")
        assert kind(session) == "NotSupported"


def test_messages_are_told_anew_each_time(board: Board) -> None:
    board.says('oh {"room":"bath","brightness":1}')
    with board.daemon.connect() as wire:
        messages: list[Mapping[str, str]] = [{"role": "user", "content": "Hello"}]
        for _ in range(2):
            text = wire.ask("rkllm.run", {"messages": messages, "format": LAMP})["result"]["text"]
            assert is_valid(text, LAMP)
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "More"}]
        board.says("")
        plain = wire.ask("rkllm.run", {"messages": [*messages]})["result"]["text"]
        assert "Hello" in plain, "the whole conversation, not its last words"


def test_a_call_may_stand_in_the_place_of_what_has_the_form(board: Board) -> None:
    tools = [{"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}]
    asked = {"messages": [{"role": "user", "content": "Light!"}], "tools": tools, "format": LAMP}
    with board.daemon.connect() as wire:
        board.says('<tool_call>{"name": "light", "arguments": {"on": true}}</tool_call>')
        wire.request("rkllm.run_async", asked, "run")
        messages = wire.until_final("run")
        assert streamed(messages) == ""
        [call] = messages[-1]["result"]["tool_calls"]
        assert call["function"] == {"name": "light", "arguments": {"on": True}}
        board.says("<tool> kitchen, 7")
        said = wire.ask("rkllm.run", asked)["result"]
        assert is_valid(said["text"], LAMP)
        assert "tool_calls" not in said


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0"])
def test_earlier_runtimes_have_no_sampling_of_their_own(start: Start, tmp_path: Path, version: str) -> None:
    board = Board(start, tmp_path, version)
    board.says('Hm, [1, "a" 3', finish_after_pause=1)
    with board.daemon.connect() as wire:
        form = {"type": "array", "items": {"type": "integer"}, "minItems": 3}
        assert is_valid(run(wire, form)["result"]["text"], form)


def test_schemas_at_random_against_words_at_random(board: Board) -> None:
    judged = 0
    with board.daemon.connect() as wire:
        for seed in range(SCHEMAS):
            schema, chance = SchemaMaker(seed).make(), random.Random(seed)
            board.says("".join(chance.choices('{}[]",:01ab \\-é.x@Te', k=150)))
            answer = run(wire, schema, max_new_tokens=100)
            if kind(answer) == "InvalidParams":
                continue
            judged += 1
            assert is_valid(answer["result"]["text"], schema), (seed, answer)
    assert judged > SCHEMAS / 2


def test_the_same_on_a_real_model(start: Start) -> None:
    demo = start("--model", "demo", "--format-by", "pauses", runtime="portable")
    with demo.connect() as wire:
        for question in ("What is an NPU?", "Tell me a story.", "你是谁"):
            asked = {"prompt": question, "max_new_tokens": 40}
            result = wire.ask("rkllm.run", {**asked, "format": LAMP})["result"]
            assert is_valid(result["text"], LAMP)
            form = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
            said = json.loads(wire.ask("rkllm.run", {**asked, "format": form})["result"]["text"])
            assert len(said["answer"]) > 5, "its own words"
