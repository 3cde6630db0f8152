"""How clients of the C server ask for a stream, and members among the parameters."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.client import Client
from tests.rkllm.board import Board
from tests.wire_connection import streamed


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
