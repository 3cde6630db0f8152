"""What clients of the C server before this daemon send (protocol, section 3), and that no mistake hides in it."""

from __future__ import annotations

import base64
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.client import Client
from tests.daemon import Daemon, kind, streamed
from tests.rkllm.board import Board

# As their helper functions make it: every field of the struct, "reserved" included.
PARAM: dict[str, Any] = {
    "max_context_len": 512,
    "max_new_tokens": 50,
    "top_k": 40,
    "n_keep": 0,
    "top_p": 0.9,
    "temperature": 0.8,
    "repeat_penalty": 1.1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "skip_special_token": False,
    "is_async": False,
    "img_start": None,
    "img_end": None,
    "img_content": None,
    "extend_param": {
        "base_domain_id": 0,
        "embed_flash": 0,
        "enabled_cpus_num": 4,
        "enabled_cpus_mask": 15,
        "n_batch": 1,
        "use_cross_attn": 0,
        "reserved": None,
    },
}
INPUT = {"role": "user", "enable_thinking": False, "input_type": 0, "prompt_input": "Hi"}
INFER = {"mode": 0, "lora_params": None, "prompt_cache_params": None, "keep_history": 0}
# Eight floats, as wide as the simulator is.
EMBED = {
    "image_embed_base64": base64.b64encode(struct.pack("<8f", *range(8))).decode(),
    "n_image_tokens": 1,
    "n_image": 1,
}


def place(error: dict[str, Any]) -> tuple[Any, ...]:
    return error["code"], error["path"], error["keyword"]


def param(board: Board, **extend: Any) -> dict[str, Any]:
    return {"model_path": str(board.model), **PARAM, "extend_param": {**PARAM["extend_param"], **extend}}


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


# Streaming


def test_run_streams_where_the_model_was_loaded_with_is_async(board: Board) -> None:
    board.load(is_async=True)
    board.wire.request("rkllm.run", {"prompt": "Hi"})
    messages = board.wire.until_final(1)
    assert len(messages) > 2
    assert streamed(messages) == "[user] Hi"
    assert board.result("rkllm.run", {"prompt": "Hi"}, stream="final")["text"] == "[user] Hi"
    with Client(board.daemon.path) as client:
        assert client.call("rkllm.run", {"prompt": "Hi"})["text"] == "[user] Hi", "who calls wants one answer"
        parts = [partial["text"] for partial in client.stream("rkllm.run", {"prompt": "Hi"})]
        assert ("".join(parts), len(parts) > 2) == ("[user] Hi", True)


@pytest.mark.parametrize("given", [{}, {"is_async": False}])
def test_run_answers_once_otherwise(board: Board, given: dict[str, Any]) -> None:
    board.load(**given)
    board.wire.request("rkllm.run", {"prompt": "Hi"})
    (message,) = board.wire.until_final(1)
    assert message["result"]["text"] == "[user] Hi"


def test_members_may_stand_in_params(board: Board) -> None:
    """For libraries that can put nothing beside "method"."""
    board.load()
    params: dict[str, Any] = {"prompt": "Hi", "stream": "partial", "timeout_ms": 60_000, "priority": "low"}
    board.wire.request("rkllm.run", params)
    assert streamed(board.wire.until_final(1)) == "[user] Hi"
    board.wire.request("rkllm.run_async", {"prompt": "Hi", "stream": "final", "session": None})
    (message,) = board.wire.until_final(1)
    assert message["result"]["text"] == "[user] Hi"
    answer = board.result("rkllm.run", {"prompt": "Hi", "session": "kitchen"})
    assert answer["session"]["name"] == "kitchen"
    job = board.result("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hi", "stream": "partial"}})
    assert job["status"] == "queued"
    with Client(board.daemon.path) as client:
        assert client.call("rkllm.run", {"prompt": "Hi", "stream": "final"})["text"] == "[user] Hi"


@pytest.mark.parametrize(
    ("method", "params", "members", "said"),
    [
        ("rkllm.run", {"prompt": "Hi", "stream": "final"}, {"stream": "partial"}, "$.stream uniqueItems"),
        ("rkllm.run", {"prompt": "Hi", "stream": "parts"}, {}, "stream enum"),
        ("rkllm.run", {"prompt": "Hi", "stream": True}, {}, "stream enum"),
        ("rkllm.run", {"prompt": "Hi", "steam": "final"}, {}, "$.steam additionalProperties"),
        ("rkllm.run", {"prompt": "Hi", "timeout_ms": 0}, {}, "timeout_ms minimum"),
        ("rkllm.run", {"prompt": "Hi", "fds": 1}, {}, "$.fds additionalProperties"),
        ("rkllm.run", {"prompt": "Hi", "reply_fds": True}, {}, "$.reply_fds additionalProperties"),
        ("rkllm.clear_kv_cache", {"stream": "final"}, {}, "$.stream additionalProperties"),
        ("rkllm.is_running", {"timeout_ms": 5}, {}, "$.timeout_ms additionalProperties"),
        (
            "server.submit",
            {"method": "rkllm.run", "params": {"prompt": "Hi", "stream": "parts"}},
            {},
            "stream enum",
        ),
        (
            "server.submit",
            {"method": "rkllm.run", "params": {"prompt": "Hi", "session": "a"}},
            {"session": "b"},
            "$.params.session uniqueItems",
        ),
    ],
)
def test_members_in_params_that_mean_nothing_are_refused(
    board: Board, method: str, params: dict[str, Any], members: dict[str, Any], said: str
) -> None:
    board.load()
    error = board.refused(method, params, **members)
    assert f"{error.get('path') or error['member']} {error['keyword']}" == said, error


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


# The second rkllm.init


def test_a_second_init_of_the_same_model_answers_with_its_handle(board: Board) -> None:
    first = board.result("rkllm.init", [None, param(board), None])
    assert first["message"] == "Loaded model.rkllm."
    assert "already_loaded" not in first
    inits = board.calls().count("rkllm_init")
    with board.connect() as other:
        again = other.ask("rkllm.init", param(board))["result"]
        assert (again["handle"], again["success"], again["already_loaded"]) == (first["handle"], True, True)
        assert "loaded already" in again["message"]
        # Another file name of the same file, and the defaults spelled out.
        link = board.directory / "link.rkllm"
        link.symlink_to(board.model)
        assert other.ask("rkllm.init", {**param(board), "model_path": str(link)})["result"]["handle"] == first["handle"]
        link.unlink()
        assert other.ask("rkllm.run", [0, INPUT])["result"]["text"] == "[user] Hi"
    assert board.calls().count("rkllm_init") == inits


@pytest.mark.parametrize(
    "other",
    [
        {"top_k": 41},
        {"max_context_len": 1024},
        {"is_async": True},
        {"temperature": 0.81},
        {"extend_param": {"embed_flash": 1}},
    ],
)
def test_a_second_init_with_other_parameters_is_refused(board: Board, other: dict[str, Any]) -> None:
    board.load(top_k=40)
    error = board.refused("rkllm.init", {"model_path": str(board.model), "top_k": 40, **other})
    assert error["kind"] == "ModelAlreadyLoaded"
    assert "this is another one" in error["message"]
    assert "second_init" in error["message"]


def test_a_second_init_of_another_file_is_refused(board: Board) -> None:
    board.load()
    copy = board.directory / "copy.rkllm"
    shutil.copy(board.model, copy)
    assert board.refused("rkllm.init", {"model_path": str(copy)})["kind"] == "ModelAlreadyLoaded"
    copy.unlink()


@pytest.mark.parametrize("version", ["1.3.0"])
def test_a_file_that_was_written_since_is_another_model(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version)
    board.load()
    board.model.write_bytes(b"SIMMODEL")
    assert board.refused("rkllm.init", {"model_path": str(board.model)})["kind"] == "ModelAlreadyLoaded"


@pytest.mark.parametrize("version", ["1.3.0"])
def test_second_init_may_replace(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--second-init", "replace")
    first = board.load()
    assert board.result("rkllm.init", {"model_path": str(board.model)})["handle"] == first, "the same one stays"
    second = board.result("rkllm.init", {"model_path": str(board.model), "top_k": 7})
    assert second["replaced"] == [first]
    assert [model["handle"] for model in board.result("server.status")["models"]] == [second["handle"]]
    board.script(init="fail")
    error = board.error("rkllm.init", {"model_path": str(board.model), "top_k": 8})
    assert error["data"]["lost"] == [second["handle"]] or error["data"]["restored"] == [second["handle"]]


@pytest.mark.parametrize("version", ["1.3.0"])
def test_of_several_the_one_unused_for_longest_is_replaced(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--second-init", "replace", "--max-models", "2")
    first, second = board.load(top_k=2), board.load(top_k=3)
    board.say("Hi", handle=second)
    board.say("Hi", handle=first)
    assert board.result("rkllm.init", {"model_path": str(board.model), "top_k": 4})["replaced"] == [second]


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
