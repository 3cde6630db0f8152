"""Stop strings of a run, on the simulator: found across tokens, never shown, and the run ends there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rkllm.board import Board
from tests.server.jobs.submitting import ended, submit

# A token of two bytes each millisecond, for ever; the model must be loaded with max_new_tokens 0.
ENDLESS = {"text": "one, two, three, ", "repeat": 1_000_000_000, "pace_us": 1000}


def streamed(board: Board, **params: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    board.wire.request("rkllm.run_async", {"prompt": "Hi", **params})
    results = [board.wire.receive()["result"]]
    while "finish_reason" not in results[-1]:
        results.append(board.wire.receive()["result"])
    return results[:-1], results[-1]


@pytest.mark.parametrize("pace", [1000, 0], ids=["sent at once", "sent by the loop"])
def test_a_stream_ends_before_the_string(board: Board, pace: int) -> None:
    board.load(max_new_tokens=0)
    board.script(**{**ENDLESS, "pace_us": pace})
    partials, final = streamed(board, stop=["never", "o, th", "ree"])
    assert "".join(item["text"] for item in partials) + final["text"] == "one, tw"
    assert (final["finish_reason"], final["stop_sequence"]) == ("stop", "o, th")
    assert [item["seq"] for item in [*partials, final]] == list(range(len(partials) + 1))
    assert len(partials) <= len("one, two, th") // 2, "no token after it is sent"


def test_what_is_held_back_comes_when_it_can_be_no_stop_string_any_more(board: Board) -> None:
    board.load(max_new_tokens=4)
    board.script(text="abcdefgh")
    partials, final = streamed(board, stop=["cdx", "gh!"])
    assert [item["text"] for item in partials] == ["ab", "", "cdef", ""]
    assert (final["text"], final["finish_reason"], "stop_sequence" in final) == ("gh", "length", False)


def test_a_run_without_a_stream_and_a_job_have_the_text_up_to_it(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.script(**ENDLESS)
    whole = board.result("rkllm.run", {"prompt": "Hi", "stop": [", three"]})
    job = ended(board.wire, submit(board.wire, "rkllm.run", {"prompt": "Hi", "stop": [", three"]}))["result"]
    for result in (whole, job):
        assert (result["text"], result["finish_reason"], result["stop_sequence"]) == ("one, two", "stop", ", three")


def test_the_next_run_is_as_any_other(board: Board) -> None:
    board.load(max_new_tokens=0)
    for _ in range(3):
        board.script(**ENDLESS)
        assert board.result("rkllm.run", {"prompt": "Hi", "stop": ["two"], "keep_history": 1})["text"] == "one, "
        board.script(text="all of it")
        result = board.result("rkllm.run", {"prompt": "Hi", "keep_history": 1})
        assert (result["text"], result["finish_reason"], "history_reset" in result) == ("all of it", "stop", False)


def test_each_entry_of_a_batch_ends_for_itself(board: Board) -> None:
    board.load(max_new_tokens=0, extend_param={"n_batch": 2})
    board.script(text="aabbccdd", batch_step=2)
    asked = {"rkllm_input": [{"prompt": "Hi"}] * 2, "stop": ["cd"]}
    first, second = board.result("rkllm.run", asked)["batch"]
    assert (first["text"], first["stop_sequence"]) == ("aabbc", "cd")
    assert (second["text"], "stop_sequence" in second) == ("aabb", False)


@pytest.mark.parametrize(
    ("stop", "path"), [([""], "$.stop[0]"), (["x" * 257], "$.stop[0]"), (["x"] * 9, "$.stop"), ("x", "$.stop")]
)
def test_what_can_be_no_stop_strings_is_refused(board: Board, stop: Any, path: str) -> None:
    board.load()
    error = board.error("rkllm.run", {"prompt": "Hi", "stop": stop})
    assert (error["code"], error["data"]["path"]) == (-32602, path)


def test_only_generated_text_can_be_stopped(board: Board) -> None:
    board.load()
    error = board.error("rkllm.run", {"prompt": "Hi", "stop": ["x"], "mode": 1})
    assert (error["code"], error["data"]["path"]) == (-32602, "$.stop")
    assert "stop_sequence" not in board.result("rkllm.run", {"prompt": "Hi", "stop": [], "mode": 1})
