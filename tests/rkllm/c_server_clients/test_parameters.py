"""Parameters as clients of the C server before this daemon send them (protocol, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.rkllm.board import Board
from tests.rkllm.c_server_clients.sent import EMBED, INFER, INPUT, param, place
from tests.wire_connection import kind

# C's own fields


@pytest.mark.parametrize("reserved", [None, [], [0], [0] * 104])
def test_the_reserved_bytes_of_c_may_stand_there(board: Board, reserved: Any) -> None:
    assert board.result("rkllm.init", [None, param(board, reserved=reserved), None])["success"] is True
    assert board.result("rkllm.run", [None, INPUT, INFER, None])["text"] == "[user] Hi"


@pytest.mark.parametrize(
    ("reserved", "path", "keyword"),
    [([1], "[0]", "enum"), ([0] * 105, "", "maxItems"), ("", "", "type"), (0, "", "type"), ({}, "", "type")],
)
def test_reserved_bytes_that_say_something_are_refused(board: Board, reserved: Any, path: str, keyword: str) -> None:
    error = board.refused("rkllm.init", param(board, reserved=reserved))
    assert place(error) == (-32602, f"$.extend_param.reserved{path}", keyword)


def test_what_createdefaultparam_answers_loads_a_model(board: Board) -> None:
    answer = board.result("rkllm.createDefaultParam")
    assert board.result("rkllm.init", {**answer, "model_path": str(board.model)})["success"] is True
    assert "needs model_path" in board.refused("rkllm.init", {"top_k": 1})["message"]


def test_what_createdefaultparam_of_the_portable_runtime_answers_loads_a_model(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.createDefaultParam")["result"]
        given = {**answer, "model_path": "demo", "extend_param": {**answer["extend_param"], "reserved": None}}
        assert wire.ask("rkllm.init", [given])["result"]["message"] == "Loaded demo.gguf."


# Parameters


def test_params_that_are_null_are_none(board: Board) -> None:
    board.wire.send(b'{"jsonrpc":"2.0","id":1,"method":"rkllm.createDefaultParam","params":null}\n')
    assert "top_k" in board.wire.final(1)["result"]
    board.wire.send(b'{"jsonrpc":"2.0","id":2,"method":"rkllm.init","params":null}\n')
    assert "needs param" in board.wire.final(2)["error"]["message"], "what is needed is still needed"


@pytest.mark.parametrize("params", [[0, INPUT, INFER, None], {"handle": 0, "prompt": "Hi"}])
def test_the_handle_zero_is_the_only_one(board: Board, params: Any) -> None:
    error = board.refused("rkllm.run", params)
    assert error["kind"] == "ModelNotInitialized"
    board.load()
    assert board.result("rkllm.run", params)["text"] == "[user] Hi"


@pytest.mark.parametrize("version", ["1.3.0"])
def test_the_handle_zero_is_ambiguous_among_several(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--max-models", "2")
    board.load()
    board.load()
    assert board.refused("rkllm.run", {"handle": 0, "prompt": "Hi"})["kind"] == "AmbiguousHandle"


def test_the_prompt_may_stand_beside_the_multimodal_input(board: Board) -> None:
    board.load()
    inside = {"multimodal": {**EMBED, "prompt": "<image>What?"}}
    expected = board.result("rkllm.run", inside)["text"]
    assert "What?" in expected
    beside = {"input_type": "RKLLM_INPUT_MULTIMODAL", "role": "user", "prompt": "<image>What?", "multimodal": EMBED}
    assert board.result("rkllm.run", beside)["text"] == expected
    assert board.result("rkllm.run", [None, {"prompt_input": "<image>What?", "multimodal_input": EMBED}])["text"] == (
        expected
    )


@pytest.mark.parametrize(
    ("given", "path", "keyword"),
    [
        ({"prompt": "a", "multimodal": {**EMBED, "prompt": "b"}}, "$", "oneOf"),
        ({"multimodal": EMBED}, "$.multimodal_input", "required"),
        ({"prompt": "a", "multimodal": {}}, "$.multimodal_input", "required"),
        ({"prompt": "a", "input_type": 0, "multimodal": EMBED}, "$.input_type", "const"),
        ({"prompt": "a", "token_input": {"input_ids": [1]}}, "$", "oneOf"),
    ],
)
def test_inputs_that_contradict_each_other_are_refused(
    board: Board, given: dict[str, Any], path: str, keyword: str
) -> None:
    board.load()
    assert place(board.refused("rkllm.run", given)) == (-32602, path, keyword)


# num_npu_core


@pytest.mark.parametrize("form", ["flat", "param"])
def test_the_number_of_npu_cores_that_the_file_has_is_taken(board: Board, form: str) -> None:
    # The simulator says 3, as Rockchip's log line does.
    given: dict[str, Any] = {"num_npu_core": 3, "max_context_len": 512}
    params = {"model_path": str(board.model), **(given if form == "flat" else {"param": given})}
    handle = board.result("rkllm.init", params)["handle"]
    assert board.result("rkllm.init", params)["handle"] == handle
    error = board.refused("rkllm.init", {"model_path": str(board.model), "max_context_len": 512, "num_npu_core": 2})
    assert place(error) == (-32602, "$.num_npu_core", "const")


def test_another_number_of_npu_cores_is_refused(board: Board) -> None:
    error = board.error("rkllm.init", {"model_path": str(board.model), "param": {"num_npu_core": 1}})
    assert error["data"]["limit"] == 3
    assert error["message"] == ("num_npu_core: the file was converted for 3 NPU cores, and no load changes that.")
    assert board.result("server.status")["models"] == [], "and it is unloaded again"
    assert board.refused("rkllm.init", {"model_path": str(board.model), "num_npu_core": 0})["keyword"] == "minimum"


def test_without_an_npu_no_number_of_cores_is_taken(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "demo", "num_npu_core": 1})["error"]
    assert (error["data"]["path"], error["data"]["keyword"]) == ("$.num_npu_core", "const")
    assert "leave it out" in error["message"]


# Templates and tools

WHOLE = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"system_template": "S", "user_template": "<", "assistant_template": ">"}, "[system] S [user] <Hi>"),
        ([None, {"user_template": "<", "prompt_postfix": ">"}], "[user] <Hi>"),
        ({"chat_template": "<{prompt}>"}, "[user] <Hi>"),
        ([None, {"chat_template": "<{prompt}>", "add_generation_prompt": True}], "[user] <Hi>"),
        ({"chat_template": WHOLE}, "[user] " + WHOLE.replace("{prompt}", "Hi")),
    ],
)
def test_templates_as_they_are_called_elsewhere(board: Board, params: Any, text: str) -> None:
    board.load()
    assert board.result("rkllm.set_chat_template", params)["success"] is True
    assert board.say() == text


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({"system_template": "a", "system_prompt": "b"}, "$.system_prompt", "uniqueItems"),
        ({"chat_template": "<{prompt}>", "user_template": "b"}, "$.user_template", "oneOf"),
        ({"chat_template": "no place"}, "$.chat_template", "pattern"),
        ({"chat_template": "{prompt} {prompt}"}, "$.chat_template", "pattern"),
        ({"chat_template": "{% for m in messages %}{prompt}{% endfor %}"}, "$.chat_template", "format"),
        ({"chat_template": "<{prompt}>", "add_generation_prompt": False}, "$.add_generation_prompt", "enum"),
        ({"chat_template": "<{prompt}>", "stop_words": ["."]}, "$.stop_words", "additionalProperties"),
        ({"chat_template": 1}, "$.chat_template", "type"),
    ],
)
def test_templates_that_would_not_do_what_they_say_are_refused(
    board: Board, params: Any, path: str, keyword: str
) -> None:
    board.load()
    assert place(board.refused("rkllm.set_chat_template", params)) == (-32602, path, keyword)


FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": {"type": "object"}}


def test_functions_are_tools(board: Board) -> None:
    board.load()
    told = []
    for given in (
        {"tools": [{"type": "function", "function": FUNCTION}]},
        {"functions": [FUNCTION], "tool_choice": "auto"},
    ):
        assert board.result("rkllm.set_function_tools", [None, given])["success"] is True
        told.append(board.say())
    assert told[0] == told[1]
    assert "get_weather" in told[0]


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({}, "$.tools", "required"),
        ({"tools": None}, "$.tools", "required"),
        ({"tools": [], "functions": []}, "$.functions", "oneOf"),
        ({"functions": [{"description": "nameless"}]}, "$.functions[0]", "required"),
        ({"functions": ["get_weather"]}, "$.functions[0]", "type"),
        ({"functions": [FUNCTION], "tool_choice": "none"}, "$.tool_choice", "enum"),
        ({"functions": [FUNCTION], "function_call": "auto"}, "$.function_call", "additionalProperties"),
    ],
)
def test_functions_that_are_none_are_refused(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    assert place(board.refused("rkllm.set_function_tools", params)) == (-32602, path, keyword)


# Relative paths


def test_relative_paths_begin_in_the_model_directory(start: Callable[..., Daemon], tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "qwen").mkdir(parents=True)
    for name in ("qwen/a.rkllm", "b.rkllm", "lora.rkllm"):
        (models / name).touch()
    outside = tmp_path / "outside.rkllm"
    outside.touch()
    daemon = start("--model-directory", str(models), "--allowed-directories", str(models))
    with daemon.connect() as wire:
        first = wire.ask("rkllm.init", {"model_path": "qwen/a.rkllm"})["result"]["handle"]
        (model,) = wire.ask("server.status")["result"]["models"]
        assert model["model_path"] == str(models / "qwen/a.rkllm")
        same = wire.ask("rkllm.init", {"model_path": "./qwen/../qwen/a.rkllm"})["result"]
        assert same["handle"] == first, "the same file"
        answer = wire.ask("rkllm.load_lora", {"lora_adapter_path": "lora.rkllm"})
        assert answer["result"]["lora_adapter_name"] == "lora"
        # A word without a slash is a name; where the configuration declares none of that name, it may be a file's.
        assert "result" in wire.ask("rkllm.init", {"model_path": "b.rkllm", "replace": True})
        unknown = wire.ask("rkllm.init", {"model_path": "c.rkllm", "replace": True})["error"]
        assert unknown["data"]["keyword"] == "enum"
        assert str(models) in unknown["message"]
        assert wire.ask("rkllm.init", {"model_path": "qwen/c.rkllm"})["error"]["data"]["keyword"] == "file"
        for escaping in ("../outside.rkllm", str(outside)):
            assert kind(wire.ask("rkllm.init", {"model_path": escaping})) == "PermissionDenied"
        assert wire.ask("rknn.init", {"model_path": "qwen/none.rknn"})["error"]["data"]["keyword"] == "file"


def test_without_a_model_directory_relative_paths_are_refused(board: Board) -> None:
    error = board.refused("rkllm.init", {"model_path": "./model.rkllm"})
    assert place(error) == (-32602, "$.model_path", "absolute")
    assert "model_directory" in error["message"]
