"""rkllm.clear_kv_cache and get_kv_cache_size."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rkllm.board import ENDLESS, Board

OK = {"success": True, "status": 0}


def fill(board: Board) -> None:
    """Fill the cache: 3 of the system prompt, 5 of the prompt, 4 generated."""
    board.result("rkllm.set_chat_template", ["SYS"])
    board.script(text="abcdefgh")
    board.say("Hello", keep_history=1)
    assert board.kv_sizes() == [12]


@pytest.mark.parametrize(
    ("params", "left"),
    [
        (None, 3),
        ([], 3),
        ([None], 3),
        ([None, 1], 3),
        ([None, True, None, None], 3),
        ([None, 0], 0),
        ([None, False], 0),
        ({"keep_system_prompt": 1}, 3),
        ({"keep_system_prompt": 0}, 0),
        ({"keep_system_prompt": None}, 3),
        ({"keep_system_prompt": 0, "start_pos": None, "end_pos": None}, 0),
    ],
)
def test_all_of_it_with_or_without_the_system_prompt(board: Board, params: Any, left: int) -> None:
    board.load()
    fill(board)
    assert board.result("rkllm.clear_kv_cache", params) == OK
    assert board.kv_sizes() == [left]


def test_the_values_that_are_allowed_are_told_in_json(board: Board) -> None:
    board.load()
    message = board.refused("rkllm.clear_kv_cache", {"keep_system_prompt": 5})["message"]
    assert message == "$.keep_system_prompt must be one of 0, 1, true, false."


def test_a_range(board: Board) -> None:
    board.load()
    fill(board)
    assert board.result("rkllm.clear_kv_cache", [None, 1, [2], [7]]) == OK
    assert board.kv_sizes() == [7]
    assert board.result("rkllm.clear_kv_cache", {"start_pos": [0], "end_pos": [7]}) == OK
    assert board.kv_sizes() == [0]


def test_ranges_of_a_batch_as_in_the_protocol(board: Board) -> None:
    """The protocol's example, for a model with two batch entries: the ranges are [0, 100) and [50, 150)."""
    board.load(extend_param={"n_batch": 2})
    board.script(text="ab")
    board.result("rkllm.run", [[{"prompt": "x" * 120}, {"prompt": "x" * 160}]])
    before = board.kv_sizes()
    assert board.result("rkllm.clear_kv_cache", [None, 1, [0, 50], [100, 150]]) == OK
    assert board.kv_sizes() == [before[0] - 100, before[1] - 100]
    error = board.error("rkllm.clear_kv_cache", [None, 1, [0, 50], [100, 150]])
    assert (error["code"], error["data"]["function"]) == (-32002, "rkllm_clear_kv_cache"), "it is shorter now"
    assert error["data"]["status"] == -1


def test_the_example_of_the_protocol_on_a_model_without_batches(board: Board) -> None:
    """The example works as it stands whatever n_batch is: the runtime reads a range for each entry that it has."""
    board.load()
    board.script(text="ab")
    board.result("rkllm.run", {"prompt": "x" * 120})
    [before] = board.kv_sizes()
    assert board.result("rkllm.clear_kv_cache", [None, 1, [0, 50], [100, 150]]) == OK
    assert board.kv_sizes() == [before - 100]


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ([None, 2], "$[1]", "enum"),
        ([None, "1"], "$[1]", "enum"),
        ({"keep_system_prompt": 1.5}, "$.keep_system_prompt", "enum"),
        ({"start_pos": [0]}, "$.end_pos", "required"),
        ({"end_pos": [0]}, "$.start_pos", "required"),
        ({"start_pos": [], "end_pos": []}, "$.start_pos", "minItems"),
        ({"start_pos": [0, 1], "end_pos": [5]}, "$.end_pos", "minItems"),
        ({"start_pos": [0], "end_pos": [5, 6]}, "$.end_pos", "maxItems"),
        ({"start_pos": [-1], "end_pos": [5]}, "$.start_pos[0]", "minimum"),
        ({"start_pos": [0], "end_pos": [2**31]}, "$.end_pos[0]", "maximum"),
        ({"start_pos": [0], "end_pos": ["5"]}, "$.end_pos[0]", "type"),
        ({"start_pos": [5], "end_pos": [4]}, "$.end_pos[0]", "minimum"),
        ({"start_pos": 0, "end_pos": 5}, "$.start_pos", "type"),
        ({"range": [0, 5]}, "$.range", "additionalProperties"),
        ([None, 1, [0], [5], None], "$[4]", "maxItems"),
    ],
)
def test_wrong_ranges(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    fill(board)
    error = board.refused("rkllm.clear_kv_cache", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]
    assert board.kv_sizes() == [12]


def test_a_range_that_starts_with_a_float_is_an_integer_to_json(board: Board) -> None:
    board.load()
    fill(board)
    assert board.result("rkllm.clear_kv_cache", {"start_pos": [0.0], "end_pos": [2.0]}) == OK
    assert board.kv_sizes() == [10]


def test_it_waits_behind_the_run_of_its_model(board: Board) -> None:
    board.load()
    board.script(text="one two three", tokens="words", prefill_hold=1)
    board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
    board.wire.request("rkllm.clear_kv_cache", {"keep_system_prompt": 0}, "clear")
    board.wire.request("server.queue", None, "queue")
    assert board.wire.receive()["result"]["length"] == 1, "the clearing waits"
    board.daemon.let_go()
    order = [board.wire.receive() for _ in range(5)]
    assert [message["id"] for message in order] == ["run", "run", "run", "run", "clear"]
    assert order[-1]["result"] == OK
    assert board.kv_sizes() == [0]


def test_the_size_during_a_run_is_the_one_before_it(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.script(text="abcd", repeat=2)
    board.say("Hello", keep_history=1)
    assert board.result("rkllm.get_kv_cache_size") == {"success": True, "cache_sizes": [9]}
    board.start_endless_run(board.wire)
    with board.connect() as other:
        asked = board.calls().count("rkllm_get_kv_cache_size")
        assert other.ask("rkllm.get_kv_cache_size")["result"] == {
            "success": True,
            "cache_sizes": [9],
            "running": True,
        }
        assert board.calls().count("rkllm_get_kv_cache_size") == asked, "the runtime is not asked during a run"


def test_the_sizes_of_a_batch(board: Board) -> None:
    board.load(extend_param={"n_batch": 3})
    assert board.kv_sizes() == [0, 0, 0]
    board.script(text="ab", batch_step=0)
    board.result("rkllm.run", [[{"prompt": "a"}, {"prompt": "bb"}, {"prompt": "ccc"}]])
    assert board.kv_sizes() == [2, 3, 4]


def test_a_run_does_not_depend_on_the_sizes(board: Board) -> None:
    board.load(max_new_tokens=0)
    board.script(return__rkllm_get_kv_cache_size=-1)
    assert board.say() == "[user] Hi"
    board.script(**ENDLESS, return__rkllm_get_kv_cache_size=-1)
    board.wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
    board.wire.receive()
    with board.connect() as other:
        result = other.ask("rkllm.get_kv_cache_size")["result"]
    assert result == {"success": True, "cache_sizes": [], "running": True}, "no number rather than a wrong one"
