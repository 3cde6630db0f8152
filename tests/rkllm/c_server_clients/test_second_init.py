"""A second rkllm.init, which clients of the C server send before each run: it answers with the handle of the first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.rkllm.board import Board
from tests.rkllm.c_server_clients.sent import INPUT, param


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
