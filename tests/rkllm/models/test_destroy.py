"""rkllm.destroy: the handle is dead from then on, for what waits as for what comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rkllm.board import Board


def test_what_waits_behind_it_is_answered_that_no_model_is_loaded(board: Board) -> None:
    """Whether it named its handle or not: the model is gone when its turn comes."""
    handle = board.load(max_new_tokens=0)
    with board.connect() as other:
        board.start_endless_run(board.wire)
        other.request("rkllm.destroy", None, "destroy")
        other.request("rkllm.run", {"prompt": "Hi"}, "null handle")
        other.request("rkllm.run", {"prompt": "Hi", "handle": handle}, "by handle")
        other.request("rkllm.clear_kv_cache", {"handle": handle}, "ordered")
        other.request("rkllm.set_chat_template", None, "ordered, null handle")
        other.request("server.status", None, "sent")
        assert other.receive()["id"] == "sent", "all of them wait while the run goes on"
        board.wire.request("server.cancel", {"id": "endless"}, "stop")
        answers = {answer["id"]: answer for answer in (other.receive() for _ in range(5))}
    assert board.wire.final("endless")["result"]["finish_reason"] == "abort"
    assert answers.pop("destroy")["result"] == {"success": True, "status": 0}
    kinds = {call_id: answer["error"]["data"]["kind"] for call_id, answer in answers.items()}
    assert set(kinds) == {"null handle", "by handle", "ordered", "ordered, null handle"}
    assert set(kinds.values()) == {"ModelNotInitialized"}
    assert board.calls()[-1] == "rkllm_destroy"


def test_a_handle_is_never_used_again(board: Board) -> None:
    handles = []
    for _ in range(5):
        handles.append(board.load())
        board.result("rkllm.destroy")
    assert len(set(handles)) == 5
    assert handles == sorted(handles)
    assert min(handles) > 0
    current = board.load()
    for dead in handles:
        error = board.refused("rkllm.run", {"prompt": "Hi", "handle": dead})
        assert (error["code"], error["kind"], error["handle"]) == (-32005, "InvalidHandle", dead)
        assert error["handles"] == [current]


def test_without_a_model(board: Board) -> None:
    error = board.refused("rkllm.destroy")
    assert (error["code"], error["kind"]) == (-32000, "ModelNotInitialized")
    assert "rkllm.init" in error["message"]
    error = board.refused("rkllm.destroy", {"handle": 123_456_789})
    assert (error["code"], error["kind"]) == (-32005, "InvalidHandle")


@pytest.mark.parametrize("handle", [-1, "1", 1.5, True, [], {}])
def test_what_is_no_handle_is_refused(board: Board, handle: object) -> None:
    board.load()
    error = board.refused("rkllm.destroy", {"handle": handle})
    assert (error["code"], error["path"]) == (-32602, "$.handle")
    assert error["keyword"] == ("minimum" if handle == -1 else "type")


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_two_models_are_destroyed_by_their_handles(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--max-models", "2")
    first, second = board.load(), board.load()
    assert board.refused("rkllm.destroy")["kind"] == "AmbiguousHandle"
    board.result("rkllm.destroy", [first])
    assert [model["handle"] for model in board.result("server.status")["models"]] == [second]
    board.result("rkllm.destroy", [None])
    assert board.result("server.status")["models"] == []


def test_a_runtime_that_fails_to_destroy_leaves_a_dead_handle(board: Board) -> None:
    handle = board.load()
    board.script(return__rkllm_destroy=4)
    error = board.error("rkllm.destroy")
    assert (error["data"]["function"], error["data"]["status"]) == ("rkllm_destroy", 4)
    board.script()
    assert board.refused("rkllm.destroy", {"handle": handle})["kind"] == "InvalidHandle"
    board.load()
    assert board.say() == "[user] Hi"
