"""The second parameter of a run: sampling, limits, adapters, prompt caches, history, hidden states and logits."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rkllm.board import Board

# --------------------------------------------------------------------------------------------------------------------
# Sampling and limits

LOADED = {
    "top_k": 11,
    "top_p": 0.75,
    "temperature": 1.25,
    "repeat_penalty": 1.5,
    "frequency_penalty": 0.125,
    "presence_penalty": 0.0625,
    "mirostat": 1,
    "mirostat_tau": 2.5,
    "mirostat_eta": 0.375,
}
WANTED = {
    "top_k": 5,
    "top_p": 0.5,
    "temperature": 0.25,
    "repeat_penalty": 1.125,
    "frequency_penalty": -0.5,
    "presence_penalty": -0.25,
    "mirostat": 2,
    "mirostat_tau": 3.5,
    "mirostat_eta": 0.875,
}


def shown(values: dict[str, Any], limit: int) -> str:
    numbers = " ".join(f"{name}={value}" for name, value in values.items())
    return f"[params {numbers} max_new_tokens={limit}] [user] Hi"


def test_the_models_own_sampling(board: Board) -> None:
    board.load(**LOADED, max_new_tokens=900)
    board.script(echo_params=1)
    assert board.say() == shown(LOADED, 900)


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_sampling_of_one_run_keeps_what_it_does_not_name(board: Board) -> None:
    board.load(**LOADED, max_new_tokens=900)
    board.script(echo_params=1)
    assert board.say(sampling_params=WANTED) == shown(WANTED, 900)
    for name, value in WANTED.items():
        assert board.say(sampling_params={name: value}) == shown({**LOADED, name: value}, 900)
    assert board.say(sampling_params={}) == shown(LOADED, 900)
    assert board.say(sampling_params=None) == shown(LOADED, 900)
    assert board.say() == shown(LOADED, 900), "a run's own sampling ends with the run"
    named = {"rkllm_input": {"prompt": "Hi"}, "rkllm_infer_params": {"sampling_params": {"top_k": 6}}}
    assert board.result("rkllm.run", named)["text"] == shown({**LOADED, "top_k": 6}, 900)


@pytest.mark.parametrize("version", ["1.2.3"])
def test_sampling_of_one_run_is_not_in_1_2(board: Board) -> None:
    board.load()
    error = board.refused("rkllm.run", {"prompt": "Hi", "sampling_params": {"top_k": 5}})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.0 or 1.3.1")
    assert error["runtime"] == "rkllm 1.2.3"
    assert "rkllm.init" in error["message"], "it says where 1.2 takes it"


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({"sampling_params": {"top_p": 2}}, "$.sampling_params.top_p", "maximum"),
        ({"sampling_params": {"top_k": 1.5}}, "$.sampling_params.top_k", "type"),
        ({"sampling_params": {"heat": 1}}, "$.sampling_params", "additionalProperties"),
        ({"sampling_params": [1]}, "$.sampling_params", "type"),
        ({"max_new_tokens": 2**31}, "$.max_new_tokens", "maximum"),
    ],
)
def test_wrong_sampling(board: Board, params: dict[str, Any], path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.run", {"prompt": "Hi", **params})
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword)


def test_finish_reason_stop_and_length_by_the_models_limit(board: Board) -> None:
    board.load(max_new_tokens=3)
    board.script(text="ababab")
    result = board.result("rkllm.run", {"prompt": "Hi"})
    assert (result["text"], result["finish_reason"]) == ("ababab", "length")
    board.script(text="abab")
    result = board.result("rkllm.run", {"prompt": "Hi"})
    assert (result["text"], result["finish_reason"]) == ("abab", "stop")


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_finish_reason_length_by_the_runs_limit(board: Board) -> None:
    board.load(max_new_tokens=3)
    board.script(text="abcdefghij")
    result = board.result("rkllm.run", {"prompt": "Hi", "max_new_tokens": 2})
    assert (result["text"], result["finish_reason"]) == ("abcd", "length")
    result = board.result("rkllm.run", {"prompt": "Hi", "max_new_tokens": 4})
    assert (result["text"], result["finish_reason"]) == ("abcdefgh", "length"), "also above the model's"
    result = board.result("rkllm.run", {"prompt": "Hi", "max_new_tokens": 0})
    assert (result["text"], result["finish_reason"]) == ("abcdef", "length"), "0: as the model was loaded"
    result = board.result("rkllm.run", {"prompt": "Hi", "max_new_tokens": 6})
    assert (result["text"], result["finish_reason"]) == ("abcdefghij", "stop")


@pytest.mark.parametrize("version", ["1.2.3"])
@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_the_daemon_keeps_the_runs_limit_where_c_has_none(board: Board, method: str) -> None:
    board.load(max_new_tokens=6)
    board.script(text="abcdefghij", repeat=1000)
    for limit, text in ((2, "abcd"), (0, "abcdefghijab"), (7, "abcdefghijab")):
        result = board.result(method, {"prompt": "Hi", "max_new_tokens": limit}, stream="final")
        assert (result["text"], result["finish_reason"]) == (text, "length")
    stopped = board.result(method, {"prompt": "Hi", "max_new_tokens": 2, "stop": ["cd"]}, stream="final")
    assert (stopped["text"], stopped["finish_reason"]) == ("ab", "stop")


# --------------------------------------------------------------------------------------------------------------------
# History


def test_keep_history_lets_the_kv_cache_grow(board: Board) -> None:
    board.load()
    board.script(text="abcd")
    board.say("12345", keep_history=1)
    assert board.kv_sizes() == [7]
    board.say("12345", keep_history=True)
    assert board.kv_sizes() == [14]
    board.say("12345", keep_history=0)
    assert board.kv_sizes() == [7], "a run without history starts from nothing"


def test_another_clients_turn_starts_a_new_history(board: Board) -> None:
    board.load()
    board.script(text="abcd")
    board.result("rkllm.set_chat_template", {"system_prompt": "SYS"})
    board.say("12345", keep_history=1)
    assert board.kv_sizes() == [10]
    with board.connect() as other:
        result = other.ask("rkllm.run", {"prompt": "12", "keep_history": 1})["result"]
        assert result["history_reset"] is True
        assert board.kv_sizes() == [7], "the system prompt is kept, the words of the first client are not"
        result = other.ask("rkllm.run", {"prompt": "12", "keep_history": 1})["result"]
        assert "history_reset" not in result
        assert board.kv_sizes() == [11]


# --------------------------------------------------------------------------------------------------------------------
# Adapters


def test_a_run_names_a_loaded_adapter(board: Board) -> None:
    board.load()
    board.result("rkllm.load_lora", {"lora_adapter_path": board.file("a.rkllm"), "lora_adapter_name": "ä"})
    board.result("rkllm.load_lora", {"lora_adapter_path": board.file("b.rkllm"), "lora_adapter_name": "b"})
    assert board.say(lora_params={"lora_adapter_name": "ä"}) == "<lora:ä>[user] Hi"
    assert board.say(lora_params={"lora_adapter_name": "b"}) == "<lora:b>[user] Hi"
    assert board.say() == "[user] Hi"


def test_an_adapter_that_is_not_loaded_is_the_runtimes_error(board: Board) -> None:
    board.load()
    error = board.error("rkllm.run", {"prompt": "Hi", "lora_params": {"lora_adapter_name": "none"}})
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert error["data"]["function"] == "rkllm_run"
    assert error["data"]["log"] == ["E rkllm: lora adapter none is not loaded"]


@pytest.mark.parametrize(
    ("lora", "path", "keyword"),
    [
        ({}, "$.lora_params", "required"),
        ({"lora_adapter_name": None}, "$.lora_params.lora_adapter_name", "type"),
        ({"lora_adapter_name": 1}, "$.lora_params.lora_adapter_name", "type"),
        ("coder", "$.lora_params", "type"),
        ({"name": "coder"}, "$.lora_params", "additionalProperties"),
    ],
)
def test_wrong_lora_params(board: Board, lora: Any, path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.run", {"prompt": "Hi", "lora_params": lora})
    assert (error["code"], error["path"]) == (-32602, path)
    assert error["keyword"] in (keyword, "required", "additionalProperties")


# --------------------------------------------------------------------------------------------------------------------
# Prompt caches


def test_a_prompt_cache_is_saved_and_loaded_again(board: Board, tmp_path: Path) -> None:
    board.load()
    path = tmp_path / "prompt.cache"
    board.say("Once upon a time", prompt_cache_params={"save_prompt_cache": 1, "prompt_cache_path": str(path)})
    assert path.read_bytes() == b"Once upon a time"
    board.result("rkllm.load_prompt_cache", {"prompt_cache_path": str(path)})
    run = board.result("rkllm.run", {"prompt": "Once upon a hill"})
    assert run["perf"]["prefill_tokens"] == len("hill")


def test_without_save_nothing_is_written(board: Board, tmp_path: Path) -> None:
    board.load()
    path = tmp_path / "prompt.cache"
    for flag in (0, False):
        board.say("Hi", prompt_cache_params={"save_prompt_cache": flag, "prompt_cache_path": str(path)})
    assert not path.exists()


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_a_prompt_cache_is_written_into_writable_directories_only(
    version: str, new_board: Callable[..., Board], tmp_path: Path
) -> None:
    allowed, closed = tmp_path / "caches", tmp_path / "elsewhere"
    for folder in (allowed, closed):
        folder.mkdir()
    (allowed / "link").symlink_to(closed)
    (allowed / "folder").mkdir()
    board = new_board(version, "--writable-directories", str(allowed))
    board.load()

    def save(path: Path | str) -> dict[str, Any]:
        return {"prompt": "Hi", "prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": str(path)}}

    for path in (closed / "x", allowed / "link" / "x", allowed / ".." / "x"):
        error = board.refused("rkllm.run", save(path))
        assert (error["code"], error["kind"]) == (-32009, "PermissionDenied")
        assert error["path"] == "$.prompt_cache_params.prompt_cache_path"
    for wrong, keyword in (
        ("./x", "absolute"),
        ("..", "pattern"),
        (allowed / "none" / "x", "file"),
        (allowed / "folder", "file"),
    ):
        error = board.refused("rkllm.run", save(wrong))
        assert (error["code"], error["keyword"]) == (-32602, keyword)
    infer_params = {"prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": str(closed / "x")}}
    positional = board.refused("rkllm.run_async", [None, {"prompt": "Hi"}, infer_params])
    assert positional["path"] == "$[2].prompt_cache_params.prompt_cache_path"
    assert list(closed.iterdir()) == []
    board.result("rkllm.run", save(allowed / "x"))
    assert (allowed / "x").read_bytes() == b"Hi"


def test_saving_needs_a_place(board: Board) -> None:
    board.load()
    for cache in ({"save_prompt_cache": 1}, {"save_prompt_cache": 1, "prompt_cache_path": ""}):
        error = board.refused("rkllm.run", {"prompt": "Hi", "prompt_cache_params": cache})
        assert (error["code"], error["path"], error["keyword"]) == (-32602, "$.prompt_cache_params", "required")


# --------------------------------------------------------------------------------------------------------------------
# Hidden states and logits


def _numbers(tensor: dict[str, Any]) -> list[float]:
    assert tensor["dtype"] == "float32"
    return array("f", base64.b64decode(tensor["data"])).tolist()


def _formula(rows: int, width: int, entry: int = 0, first: int = 0) -> list[float]:
    return [float((row * width + column) % 7 - 3 + entry) for row in range(first, rows) for column in range(width)]


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
@pytest.mark.parametrize(
    ("mode", "name", "width_name", "content"),
    [
        (1, "last_hidden_layer", "embd_size", "hidden_states"),
        ("RKLLM_INFER_GET_LAST_HIDDEN_LAYER", "last_hidden_layer", "embd_size", "hidden_states"),
        (2, "logits", "vocab_size", "logits"),
        ("RKLLM_INFER_GET_LOGITS", "logits", "vocab_size", "logits"),
    ],
)
def test_hidden_states_and_logits(
    board: Board, method: str, mode: Any, name: str, width_name: str, content: str
) -> None:
    board.load()
    board.script(embd=16, vocab=5)
    width = 16 if name == "last_hidden_layer" else 5
    for _ in range(2):
        board.wire.request(method, {"prompt": "Hello!", "mode": mode})
        (message,) = board.wire.until_final(1)
        result = message["result"]
        found = result[name]
        assert set(found) == {width_name, "num_tokens", content}
        assert (found[width_name], found["num_tokens"]) == (width, 6)
        assert found[content]["shape"] == [6, width]
        assert _numbers(found[content]) == _formula(6, width)
        assert ("logits" in result) != ("last_hidden_layer" in result)
        assert (result["text"], result["finish_reason"], result["_callback_state"]) == ("", "stop", 2)


def test_only_the_last_rows(board: Board) -> None:
    board.load()
    board.script(rows=1)
    found = board.result("rkllm.run", {"prompt": "Hello!", "mode": 2})["logits"]
    assert (found["num_tokens"], found["logits"]["shape"]) == (1, [1, 8])
    assert _numbers(found["logits"]) == _formula(6, 8, first=5)


# --------------------------------------------------------------------------------------------------------------------
# n_batch > 1


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_a_batch_in_and_out(board: Board, method: str) -> None:
    board.load(extend_param={"n_batch": 3})
    inputs = [{"prompt": "a"}, {"role": "system", "prompt": "bcdefgh"}, {"token_input": {"input_ids": [1, 2]}}]
    texts = ["[user] a", "[system] bcdefgh", "[user] [tokens n=2 sum=3]"]
    for params in ([inputs], [None, inputs, {"mode": 0}, None], {"rkllm_input": inputs}):
        board.wire.request(method, params, stream="partial")
        results = [message["result"] for message in board.wire.until_final(1)]
        joined = ["".join(result["batch"][entry]["text"] for result in results) for entry in range(3)]
        assert joined == texts
        assert [result["seq"] for result in results] == list(range(len(results)))
        first, last = results[0], results[-1]
        assert first == {
            "batch": [{"text": text[:2], "token_id": 100} for text in texts],
            "_callback_state": 0,
            "seq": 0,
        }
        assert results[-2]["batch"][0] == {"text": "", "token_id": -1}, "a finished entry has a negative token_id"
        assert last["_callback_state"] == 2
        assert last["finish_reason"] == "stop"
        whole = board.result(method, params, stream="final")
        assert [entry["text"] for entry in whole["batch"]] == texts
    assert board.kv_sizes() == [1 + 4, 7 + 8, 2 + 13]


def test_hidden_states_of_a_batch(board: Board) -> None:
    board.load(extend_param={"n_batch": 2})
    result = board.result("rkllm.run", [[{"prompt": "a"}, {"prompt": "abc"}], {"mode": 1}])
    first, second = result["last_hidden_layer"]
    assert _numbers(first["hidden_states"]) == _formula(1, 8, entry=0)
    assert _numbers(second["hidden_states"]) == _formula(3, 8, entry=1)


@pytest.mark.parametrize(
    ("n_batch", "params", "path", "keyword"),
    [
        (2, {"rkllm_input": []}, "$.rkllm_input", "minItems"),
        (2, [[{"prompt": "a"}]], "$[0]", "minItems"),
        (2, [None, [{"prompt": "a"}] * 3], "$[1]", "maxItems"),
        (1, [[{"prompt": "a"}] * 2], "$[0]", "maxItems"),
        (2, [[]], "$[0]", "minItems"),
        (2, [[{"prompt": "a"}, {"prompt": 1}]], "$[0][1].prompt", "type"),
        (2, [[{"prompt": "a"}, {}]], "$[0][1]", "required"),
        (2, [[{"prompt": "a"}, None]], "$[0][1]", "type"),
    ],
)
def test_a_batch_of_another_size_or_with_a_wrong_entry(
    board: Board, n_batch: int, params: Any, path: str, keyword: str
) -> None:
    board.load(extend_param={"n_batch": n_batch})
    error = board.refused("rkllm.run", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]


def test_an_array_of_one_where_the_model_has_no_batch(board: Board) -> None:
    board.load()
    assert board.result("rkllm.run", [[{"prompt": "Hi"}]])["text"] == "[user] Hi"
