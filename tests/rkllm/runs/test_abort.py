"""How a run ends before its time: rkllm.abort, server.cancel, server.pause, and runtimes that fail or keep silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.daemon import until
from tests.rkllm.board import ENDLESS, PAUSABLE, Board

BOTH = pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])


def answers(board: Board, *call_ids: Any) -> dict[Any, list[dict[str, Any]]]:
    """Return the messages of these calls, in whichever order they came, up to the last one's final."""
    found: dict[Any, list[dict[str, Any]]] = {call_id: [] for call_id in call_ids}
    missing = set(call_ids)
    while missing:
        message = board.wire.receive()
        found[message["id"]].append(message)
        result = message.get("result")
        if not (isinstance(result, dict) and result.get("_callback_state") in (0, 1)):
            missing.discard(message["id"])
    return found


def test_abort_ends_the_run_of_whichever_client(board: Board) -> None:
    handle = board.load(max_new_tokens=0)
    with board.connect() as other:
        board.start_endless_run(other)
        assert board.result("rkllm.abort", {"handle": handle}) == {"success": True, "status": 0, "aborted": True}
        messages = other.until_final("endless")
    last = messages[-1]["result"]
    assert (last["finish_reason"], last["_callback_state"]) == ("abort", 2)
    assert [message["result"]["seq"] for message in messages] == list(range(1, len(messages) + 1))
    assert board.calls().count("rkllm_abort") >= 1
    board.script()
    assert board.say() == "[user] Hi", "the next run is not hit by the abort"


def test_abort_without_a_run_does_not_reach_c(board: Board) -> None:
    board.load()
    assert board.result("rkllm.abort") == {"success": True, "status": 0, "aborted": False}
    assert "rkllm_abort" not in board.calls()
    assert board.say() == "[user] Hi"


def test_abort_without_a_model(board: Board) -> None:
    assert board.refused("rkllm.abort")["kind"] == "ModelNotInitialized"
    assert board.refused("rkllm.abort", [99_999])["kind"] == "InvalidHandle"


def test_what_was_generated_before_an_abort_stays_valid(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.start_endless_run(board.wire)
    with board.connect() as other:  # a second run, whole at the end, waits behind
        other.request("rkllm.run", {"prompt": "Hi"}, 1)
        board.wire.request("rkllm.abort", None, "abort")
        assert answers(board, "abort", "endless")["endless"][-1]["result"]["finish_reason"] == "abort"
        while not (other.ask("server.status", None, 2)["result"]["current"]["progress"] or {}).get("tokens"):
            pass  # each question is answered by the daemon: no time is waited for
        other.request("rkllm.abort", None, 3)
        result = other.final(1)["result"]
    assert result["finish_reason"] == "abort"
    assert result["text"] == ("abcd" * 1_000)[: len(result["text"])]
    assert result["text"] != ""


@BOTH
def test_cancel_by_id(board: Board, method: str) -> None:
    board.load(max_new_tokens=0)
    board.script(**ENDLESS)
    board.wire.request(method, {"prompt": "Hi"}, "run", stream="partial")
    board.wire.receive()
    board.wire.request("rkllm.run", {"prompt": "Hi"}, "waits")
    board.wire.request("server.cancel", {"id": "waits"}, 1)
    board.wire.request("server.cancel", {"id": "run"}, 2)
    board.wire.request("server.cancel", ["nobody"], 3)
    found = answers(board, "run", "waits", 1, 2, 3)
    assert found["waits"][-1]["error"]["code"] == -32003
    assert found["waits"][-1]["error"]["data"]["kind"] == "Cancelled"
    assert found["run"][-1]["result"]["finish_reason"] == "abort"
    assert [found[call_id][0]["result"] for call_id in (1, 2, 3)] == [
        {"cancelled": True},
        {"cancelled": True},
        {"cancelled": False},
    ]
    assert board.calls().count(f"rkllm_{method.removeprefix('rkllm.')}") == 1, "what waited never reached C"


def test_cancel_says_false_for_a_call_of_another_connection(board: Board) -> None:
    board.load(max_new_tokens=0)
    with board.connect() as other:
        board.start_endless_run(other)
        assert board.result("server.cancel", {"id": "endless"}) == {"cancelled": False}
        assert board.result("rkllm.is_running")["is_running"] is True


@pytest.mark.parametrize("params", [None, {}, [], {"id": None}, {"id": 1.5}, {"id": []}, [1, 2]])
@pytest.mark.parametrize("method", ["server.cancel", "server.pause"])
@pytest.mark.parametrize("version", ["1.3.0"])
def test_cancel_and_pause_want_an_id(board: Board, method: str, params: Any) -> None:
    error = board.refused(method, params)
    assert error["code"] == -32602
    assert error["path"] in ("$.id", "$[1]")
    assert error["keyword"] in ("required", "type", "maxItems")


def test_a_cancelled_load_is_answered_cancelled_and_unloaded(board: Board) -> None:
    board.script(hold__rkllm_init=1)
    loads = board.daemon.calls("rkllm_init")
    board.wire.request("rkllm.init", {"model_path": str(board.model)}, "load")
    board.daemon.wait_enter("rkllm_init", loads + 1)
    board.wire.request("server.cancel", {"id": "load"}, "cancel")
    board.wire.request("server.status", None, "status")
    found = answers(board, "cancel", "status")
    board.daemon.let_go()
    found |= answers(board, "load")
    assert found["cancel"][0]["result"] == {"cancelled": True}
    assert found["status"][0]["result"]["state"] == "aborting"
    error = found["load"][0]["error"]
    assert (error["code"], error["data"]["kind"]) == (-32003, "Cancelled")
    assert board.result("server.status")["models"] == []
    assert board.calls() == ["rkllm_init", "rkllm_destroy"]


@BOTH
@pytest.mark.parametrize("shape", ["partial", "final"])
def test_pause_and_resume(board: Board, method: str, shape: str) -> None:
    board.load(max_new_tokens=0)
    board.script(**PAUSABLE)
    board.wire.request(method, {"prompt": "Hi"}, "run", stream=shape)
    with board.connect() as other:

        def tokens() -> int:
            current = other.ask("server.status")["result"]["current"] or {}
            return int((current.get("progress") or {}).get("tokens") or 0)

        until("the first token", lambda: tokens() > 0)
    board.wire.request("server.pause", {"id": "run"}, "pause")
    found = answers(board, "run", "pause")
    assert found["pause"][0]["result"] == {"paused": True}
    last = found["run"][-1]["result"]
    assert (last["finish_reason"], last["_callback_state"]) == ("pause", 2)
    said = "".join(message["result"]["text"] for message in found["run"])
    assert board.result("server.status")["models"][0]["paused"] is True
    kept = board.kv_sizes()
    board.script(**{**PAUSABLE, "pace_us": 0})
    result = board.result("rkllm.run", {"prompt": ""})
    assert result["finish_reason"] == "stop"
    assert said + result["text"] == PAUSABLE["text"], "the run goes on where it was paused"
    assert said
    assert result["text"]
    assert board.kv_sizes() > kept
    assert board.result("server.status")["models"][0]["paused"] is False


def test_pause_says_false_for_what_is_not_running(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.start_endless_run(board.wire)
    board.wire.request("rkllm.run", {"prompt": "Hi"}, "waits")
    assert board.result("server.pause", {"id": "waits"}) == {"paused": False}
    assert board.result("server.pause", {"id": "nobody"}) == {"paused": False}


def test_another_client_does_not_resume_a_paused_run(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.script(**PAUSABLE)
    board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
    board.wire.receive()
    board.wire.request("server.pause", {"id": "run"}, "pause")
    assert answers(board, "run", "pause")["run"][-1]["result"]["finish_reason"] == "pause"
    board.script(**{**PAUSABLE, "pace_us": 0})
    with board.connect() as other:
        result = other.ask("rkllm.run", {"prompt": "Hi"})["result"]
    assert result["text"].startswith("w0 "), "the words of the paused run are not the other client's"


# --------------------------------------------------------------------------------------------------------------------
# Runtimes that fail, or do not say that a run is over


@BOTH
@pytest.mark.parametrize("fault", ["error", "error@2", "error@6"])
def test_a_run_that_fails_is_an_error_after_its_partials(board: Board, method: str, fault: str) -> None:
    board.load()
    board.script(text="abcdefghijkl", run=fault, error_status=-7, print_at=0, print__stderr="E RKNN: no luck")
    board.wire.request(method, {"prompt": "Hi"}, stream="partial")
    *partials, last = board.wire.until_final(1)
    assert "".join(message["result"]["text"] for message in partials) == "abcdefghijkl"[: 2 * len(partials)]
    assert len(partials) == int(fault.partition("@")[2] or 0)
    error = last["error"]
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert error["data"]["function"] == method.replace(".", "_")
    assert error["data"]["status"] == (-7 if method == "rkllm.run" else 0)
    assert error["data"]["log"] == ["E RKNN: no luck"]
    board.script()
    assert board.say() == "[user] Hi", "the next run works"


@BOTH
@pytest.mark.parametrize("fault", ["fail", "fail@2"])
def test_a_run_that_fails_without_a_callback_is_an_error_too(board: Board, method: str, fault: str) -> None:
    """With rkllm_run_async nothing but rkllm_is_running tells that it is over."""
    board.load()
    board.script(text="abcdefghijkl", run=fault, error_status=-7, pace_us=1000)
    board.wire.request(method, {"prompt": "Hi"}, stream="partial")
    *partials, last = board.wire.until_final(1)
    assert len(partials) == int(fault.partition("@")[2] or 0)
    error = last["error"]
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert error["data"]["function"] == method.replace(".", "_")
    board.script()
    assert board.say() == "[user] Hi", "the worker does not wait for what will not come"


@BOTH
@pytest.mark.parametrize("inverted", [0, 1])
def test_an_aborted_run_without_a_last_callback_ends_nevertheless(
    version: str, new_board: Callable[..., Board], method: str, inverted: int
) -> None:
    board = new_board(version)  # the daemon learns once what the runtime's rkllm_is_running means
    board.load(max_new_tokens=0)
    board.script(**ENDLESS, finish_after_abort=0, is_running_inverted=inverted)
    board.wire.request(method, {"prompt": "Hi"}, "run", stream="partial")
    board.wire.receive()
    board.wire.request("server.cancel", {"id": "run"}, "cancel")
    last = answers(board, "run", "cancel")["run"][-1]["result"]
    assert last["finish_reason"] == "abort"
    assert "perf" not in last, "only FINISH brings it"
    board.script()
    assert board.say() == "[user] Hi"


@pytest.mark.parametrize("version", ["1.3.0"])
def test_a_pause_with_and_without_a_last_callback(board: Board) -> None:
    board.load(max_new_tokens=0)
    for finish in (0, 1):
        board.script(**PAUSABLE, finish_after_pause=finish)
        board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        board.wire.receive()
        board.wire.request("server.pause", {"id": "run"}, "pause")
        last = answers(board, "run", "pause")["run"][-1]["result"]
        assert last["finish_reason"] == "pause"
        assert ("perf" in last) == bool(finish)
        board.result("rkllm.clear_kv_cache")


@BOTH
@pytest.mark.parametrize("thread", ["caller", "own"])
def test_callbacks_come_from_any_thread(board: Board, method: str, thread: str) -> None:
    board.load(max_new_tokens=0)
    board.script(text="ab", repeat=3000, thread=thread)
    result = board.result(method, {"prompt": "Hi"}, stream="final")
    assert result["text"] == "ab" * 3000


@pytest.mark.parametrize("name", ["rkllm.abort", "server.cancel"])
def test_a_run_that_has_said_its_last_word_is_not_aborted(board: Board, name: str) -> None:
    """What rkllm_abort does when nothing runs is not known, and a runtime may complain."""
    board.load()
    board.script(text="all of it", finish_hold=1, trace_callbacks=1)
    before = board.daemon.calls("finish", "callback")
    board.wire.request("rkllm.run", {"prompt": "Hi"}, "run")
    board.daemon.wait_for("the last callback", lambda: board.daemon.calls("finish", "callback") > before)
    board.wire.request(name, {"id": "run"} if name == "server.cancel" else None, "abort")
    found = answers(board, "abort")
    board.daemon.let_go()
    found |= answers(board, "run")
    last = found["run"][-1]["result"]
    assert (last["text"], last["finish_reason"]) == ("all of it", "stop")
    assert "rkllm_abort" not in board.calls()


@pytest.mark.parametrize("version", ["1.3.0"])
def test_a_runtime_that_ignores_an_abort(board: Board) -> None:
    """The run goes on to its end, and its client is answered once."""
    board.load()
    words = "".join(f"w{number} " for number in range(100))
    board.script(text=words, tokens="words", prefill_hold=1, return__rkllm_abort=5)
    board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
    board.daemon.wait_for("the run", lambda: "rkllm_run_async" in board.calls())
    board.wire.request("rkllm.abort", None, "abort")
    found = answers(board, "abort")
    board.daemon.let_go()
    found |= answers(board, "run")
    assert found["abort"][0]["result"]["aborted"] is True
    assert "".join(message["result"]["text"] for message in found["run"]) == words
    assert found["run"][-1]["result"]["_callback_state"] == 2


def test_an_abort_during_prefill_waits_for_the_runtime(board: Board) -> None:
    board.load()
    board.script(prefill_hold=1)
    board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
    board.daemon.wait_for("the run", lambda: "rkllm_run_async" in board.calls())
    board.wire.request("rkllm.is_running", None, "running")
    board.wire.request("server.cancel", {"id": "run"}, "cancel")
    board.wire.request("server.status", None, "status")
    found = answers(board, "running", "cancel", "status")
    board.daemon.let_go()
    found |= answers(board, "run")
    assert found["running"][0]["result"]["is_running"] is True
    assert found["status"][0]["result"]["state"] == "aborting"
    assert found["run"][-1]["result"]["finish_reason"] == "abort"


@pytest.mark.parametrize("version", ["1.3.0"])
def test_a_runtime_that_sets_its_own_async_flag(version: str, new_board: Callable[..., Board]) -> None:
    """is_async is asked of the runtime; the daemon answers the same."""
    board = new_board(version)
    board.load(is_async=True)
    assert board.result("rkllm.run", {"prompt": "Hi"}, stream="final")["text"] == "[user] Hi"
    assert board.result("rkllm.run_async", {"prompt": "Hi"}, stream="final")["text"] == "[user] Hi"
