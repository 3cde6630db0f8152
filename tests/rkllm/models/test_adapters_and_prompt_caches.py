"""rkllm.load_lora, load_prompt_cache and release_prompt_cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.rkllm.load_lora import MOST_ADAPTERS
from tests.daemon import Daemon
from tests.rkllm.board import Board
from tests.rkllm.reporter import build_reporter, reported


def test_an_adapter_is_named_after_its_file_unless_it_is_named(board: Board) -> None:
    board.load()
    path = board.file("coding helper.v2.rkllm")
    result = board.result("rkllm.load_lora", [{"lora_adapter_path": path}])
    assert result == {"success": True, "status": 0, "lora_adapter_name": "coding helper.v2"}
    assert board.say(lora_params={"lora_adapter_name": "coding helper.v2"}) == "<lora:coding helper.v2>[user] Hi"
    result = board.result("rkllm.load_lora", {"lora_adapter_path": path, "lora_adapter_name": "x", "scale": 0.5})
    assert result["lora_adapter_name"] == "x"
    assert board.say(lora_params={"lora_adapter_name": "x"}) == "<lora:x>[user] Hi"
    models = board.result("server.status")["models"]
    assert models[0]["lora_adapters"] == ["coding helper.v2", "x"]


def test_a_name_is_one_adapter_however_often_it_is_loaded(board: Board) -> None:
    board.load()
    path, other = board.file("polite.rkllm"), board.file("rude.rkllm")
    board.result("rkllm.load_lora", {"lora_adapter_path": path})
    before = board.calls()
    same: list[dict[str, Any]] = [{}, {"lora_adapter_name": None}, {"lora_adapter_name": "polite"}, {"scale": 1}]
    for given in same:
        result = board.result("rkllm.load_lora", {"lora_adapter_path": path, **given})
        assert result == {"success": True, "status": 0, "lora_adapter_name": "polite", "already_loaded": True}
    assert board.calls() == before
    others: list[dict[str, Any]] = [{"lora_adapter_path": other}, {"lora_adapter_path": path, "scale": 0.5}]
    for given in others:
        error = board.refused("rkllm.load_lora", {**given, "lora_adapter_name": "polite"})
        assert (error["path"], error["keyword"]) == ("$.lora_adapter_name", "uniqueItems")
    Path(path).write_bytes(b"another one")
    assert board.refused("rkllm.load_lora", {"lora_adapter_path": path})["keyword"] == "uniqueItems"
    assert board.result("server.status")["models"][0]["lora_adapters"] == ["polite"]


def test_a_model_has_no_more_adapters_than_a_limit(board: Board) -> None:
    board.load()
    path = board.file("polite.rkllm")
    for number in range(MOST_ADAPTERS):
        board.result("rkllm.load_lora", {"lora_adapter_path": path, "lora_adapter_name": f"a{number}"})
    error = board.refused("rkllm.load_lora", {"lora_adapter_path": path})
    assert (error["kind"], error["limit"], error["used"]) == ("PermissionDenied", MOST_ADAPTERS, MOST_ADAPTERS)
    board.result("rkllm.load_lora", {"lora_adapter_path": path, "lora_adapter_name": "a7"})


def test_every_field_of_an_adapter_reaches_c(version: str, tmp_path: Path, start: Callable[..., Daemon]) -> None:
    daemon = start(library=build_reporter(tmp_path, version, status=0, flags=("-DWITH_LORA",)))
    daemon.load(is_async=False)
    path = str(daemon.model)
    with daemon.connect() as wire:

        def sent(**fields: Any) -> dict[str, str]:
            return reported(wire.ask("rkllm.load_lora", {"lora_adapter_path": path, **fields})["error"])

        default = {"lora_adapter_path": path, "lora_adapter_name": "model", "scale": "1"}
        assert sent() == default, "a scale of zero would be an adapter without effect"
        assert sent(scale=0) == {**default, "scale": "0"}, "unless the client wants just that"
        assert sent(scale=0.25, lora_adapter_name="Ä") == {**default, "scale": "0.25", "lora_adapter_name": "Ä"}
        assert wire.ask("server.status")["result"]["models"][0]["lora_adapters"] == [], "none was loaded"


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        (None, "$.lora_adapter", "required"),
        ({"scale": 1}, "$", "required"),
        ([{"scale": 1}], "$[0]", "required"),
        ({"lora_adapter_path": 1}, "$.lora_adapter_path", "type"),
        ({"lora_adapter_path": "a.rkllm"}, "$.lora_adapter_path", "absolute"),
        ({"lora_adapter_path": "/nowhere/a.rkllm"}, "$.lora_adapter_path", "file"),
        ([None, {"lora_adapter_path": "/nowhere/a.rkllm"}], "$[1].lora_adapter_path", "file"),
        ({"lora_adapter_path": "/etc/passwd", "scale": "1"}, "$.scale", "type"),
        ({"lora_adapter_path": "/etc/passwd", "scale": 1e39}, "$.scale", "maximum"),
        ({"lora_adapter_path": "/etc/passwd", "lora_adapter_name": "a\0b"}, "$.lora_adapter_name", "pattern"),
        ({"lora_adapter_path": "/etc/passwd", "weight": 1}, "$.weight", "additionalProperties"),
    ],
)
def test_wrong_adapters(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.load_lora", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]


def test_a_prompt_cache_is_used_until_it_is_released(board: Board) -> None:
    board.load()
    path = board.file("a.cache", b"Once upon a time")
    assert board.result("rkllm.load_prompt_cache", [None, path])["success"] is True
    run = board.result("rkllm.run", {"prompt": "Once upon a hill"})
    assert run["perf"]["prefill_tokens"] == len("hill")
    error = board.error("rkllm.load_prompt_cache", [path])
    assert (error["code"], error["data"]["function"]) == (-32002, "rkllm_load_prompt_cache")
    assert error["data"]["log"] == ["E rkllm: release the prompt cache before loading another"]
    board.result("rkllm.release_prompt_cache")
    run = board.result("rkllm.run", {"prompt": "Once upon a hill"})
    assert run["perf"]["prefill_tokens"] == len("Once upon a hill")
    board.result("rkllm.load_prompt_cache", {"prompt_cache_path": board.file("b.cache", "Olá".encode())})
    assert board.result("rkllm.run", {"prompt": "Olá!"})["perf"]["prefill_tokens"] == 1


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        (None, "$.prompt_cache_path", "required"),
        ({"prompt_cache_path": None}, "$.prompt_cache_path", "type"),
        ({"prompt_cache_path": 1}, "$.prompt_cache_path", "type"),
        ({"prompt_cache_path": ""}, "$.prompt_cache_path", "minLength"),
        ({"prompt_cache_path": "./a.cache"}, "$.prompt_cache_path", "absolute"),
        ({"prompt_cache_path": "/nowhere"}, "$.prompt_cache_path", "file"),
        ({"prompt_cache_path": "/tmp"}, "$.prompt_cache_path", "file"),
        ({"prompt_cache_path": "/a\0b"}, "$.prompt_cache_path", "pattern"),
        ({"prompt_cache_path": "a\0b"}, "$.prompt_cache_path", "pattern"),
        ({"prompt_cache_path": ".."}, "$.prompt_cache_path", "pattern"),
        ({"path": "/tmp"}, "$.path", "additionalProperties"),
    ],
)
def test_wrong_prompt_caches(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.load_prompt_cache", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]
