"""What a function's status means, and what a runtime without a function answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.rkllm.board import Board
from tests.rkllm.reporter import build_reporter

CROSS = {"encoder_k_cache": [0] * 8, "encoder_v_cache": [0] * 8, "encoder_mask": [0], "encoder_pos": [0]}

# Every function that returns a status, and parameters that are right. FILE is a file that exists.
CALLS: dict[str, Any] = {
    "rkllm_init": {"model_path": "FILE"},
    "rkllm_load_lora": {"lora_adapter_path": "FILE"},
    "rkllm_load_prompt_cache": {"prompt_cache_path": "FILE"},
    "rkllm_release_prompt_cache": None,
    "rkllm_destroy": None,
    "rkllm_run": {"prompt": "Hi"},
    "rkllm_run_async": {"prompt": "Hi"},
    "rkllm_clear_kv_cache": None,
    "rkllm_get_kv_cache_size": None,
    "rkllm_set_chat_template": ["S"],
    "rkllm_set_function_tools": {"tools": []},
    "rkllm_set_cross_attn_params": CROSS,
}


def _filled(params: Any, path: Path) -> Any:
    return (
        {name: str(path) if value == "FILE" else value for name, value in params.items()}
        if params and isinstance(params, dict)
        else params
    )


@pytest.mark.parametrize("status", [-1, 2147483647])
@pytest.mark.parametrize("function", CALLS)
def test_a_status_that_is_not_zero_is_an_error(board: Board, function: str, status: int) -> None:
    if function != "rkllm_init":
        board.load(extend_param={"use_cross_attn": 1})
    # print_at says when the simulator prints: at the entry of this very function.
    board.script(**{f"return.{function}": status, "print.stdout": "E rkllm: the reason", "print_at": function})
    method = f"rkllm.{function.removeprefix('rkllm_')}"
    error = board.error(method, _filled(CALLS[function], board.model))
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert (error["data"]["function"], error["data"]["status"]) == (function, status)
    assert error["data"]["log"] == ["E rkllm: the reason"]
    assert function in error["message"], "the person sees which function it was"
    assert board.calls().count(function) == 1


MISSING = {name: params for name, params in CALLS.items() if name not in ("rkllm_init", "rkllm_run", "rkllm_destroy")}


def test_a_runtime_without_a_function_says_so(version: str, tmp_path: Path, start: Callable[..., Daemon]) -> None:
    """The library has rkllm_init, rkllm_run and rkllm_destroy only."""
    daemon = start(library=build_reporter(tmp_path, version, status=0))
    with daemon.connect() as wire:
        handle = wire.ask("rkllm.init", {"model_path": str(daemon.model), "is_async": False})["result"]["handle"]
        for function, params in MISSING.items():
            method = f"rkllm.{function.removeprefix('rkllm_')}"
            error = wire.ask(method, _filled(params, daemon.model))["error"]
            assert (error["code"], error["data"]["kind"]) == (-32008, "NotSupported"), function
            assert error["message"] == f"rkllm {version} has no {function}."
            assert error["data"]["runtime"] == f"rkllm {version}"
            assert error["data"]["needs"] == f"a build that exports {function}"
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hi"}), "what is there works"
        assert wire.ask("rkllm.destroy", [handle])["result"]["success"] is True
    assert daemon.process.poll() is None


NOTHING_LOADED = {**{name: params for name, params in CALLS.items() if name != "rkllm_init"}, "rkllm_abort": None}


@pytest.mark.parametrize("function", [*NOTHING_LOADED, "rkllm_is_running"])
def test_without_a_model_nothing_reaches_c(board: Board, function: str) -> None:
    params = _filled(NOTHING_LOADED.get(function), board.model)
    error = board.refused(f"rkllm.{function.removeprefix('rkllm_')}", params)
    assert (error["code"], error["kind"]) == (-32000, "ModelNotInitialized")


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0", "1.3.1"])
def test_what_can_not_be_taken_from_the_runtime_fails_the_run(tmp_path: Path, version: str) -> None:
    library = build_reporter(tmp_path, version, status=0, flags=("-DWITH_LOGITS",))
    with Daemon(tmp_path, library=library) as daemon, daemon.connect() as wire:
        daemon.load()
        error = wire.ask("rkllm.run", {"prompt": "Hi", "mode": "RKLLM_INFER_GET_LOGITS"})["error"]
        assert error["data"]["kind"] == "RuntimeError"
        assert "could not be taken" in error["message"]
        assert "4294967296 bytes is too large" in error["message"]
