"""rkllm.is_running: the daemon's own knowledge, and the runtime's raw answer beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.daemon import Daemon
from tests.rkllm.board import ENDLESS, Board


@pytest.mark.parametrize(("inverted", "idle", "busy"), [(0, 0, 1), (1, 1, 0)])
def test_the_raw_answer_has_either_polarity(
    version: str, new_board: Callable[..., Board], inverted: int, idle: int, busy: int
) -> None:
    board = new_board(version)  # the daemon learns once what the answers mean
    board.load(max_new_tokens=0)
    assert board.result("rkllm.is_running") == {"is_running": False, "status_code": None}, "nobody has asked yet"
    board.script(**ENDLESS, is_running_inverted=inverted)
    with board.connect() as other:
        other.request("rkllm.run_async", {"prompt": "Hi"}, "endless")
        while (seen := board.result("rkllm.is_running"))["status_code"] is None or not seen["is_running"]:
            pass
        assert seen == {"is_running": True, "status_code": busy}
        asked = board.calls().count("rkllm_is_running")
        board.result("rkllm.is_running")
        assert board.calls().count("rkllm_is_running") == asked, "it is no call of C"
        board.result("rkllm.abort")
        other.final("endless")
    assert board.result("rkllm.is_running") == {"is_running": False, "status_code": idle}


def test_it_is_of_one_model(board: Board) -> None:
    assert board.refused("rkllm.is_running")["kind"] == "ModelNotInitialized"
    assert board.refused("rkllm.is_running", [99_999])["kind"] == "InvalidHandle"


@pytest.mark.parametrize("version", ["1.3.0"])
def test_one_models_run_is_not_anothers(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--max-models", "2")
    busy, idle = board.load(max_new_tokens=0), board.load()
    with board.connect() as other:
        board.script(**ENDLESS)
        other.request("rkllm.run_async", {"prompt": "Hi", "handle": busy}, "endless")
        other.receive()
        assert board.result("rkllm.is_running", [busy])["is_running"] is True
        assert board.result("rkllm.is_running", [idle])["is_running"] is False
        assert board.result("rkllm.abort", [idle])["aborted"] is False
        assert board.result("rkllm.get_kv_cache_size", [idle]) == {"success": True, "cache_sizes": [0]}
        assert board.result("rkllm.is_running", [busy])["is_running"] is True, "none of this has stopped it"
        board.result("rkllm.abort", [busy])


@pytest.mark.parametrize(
    ("version", "setting", "asked"),
    [
        ("1.2.1", "auto", False),
        ("1.2.2", "auto", True),
        ("1.2.1", "always", True),
        ("1.3.0", "never", False),
    ],
)
def test_a_runtime_that_once_hung_is_not_asked(
    start: Callable[..., Daemon], version: str, setting: str, asked: bool
) -> None:
    daemon = start("--is-running-calls", setting, "--run-async-calls", "rkllm_run_async", version=version)
    daemon.load()
    with daemon.connect() as wire:
        run = wire.ask("rkllm.run_async", {"prompt": "Hi"}, stream="final")["result"]
        result = wire.ask("rkllm.is_running")["result"]
    assert result == {"is_running": False, "status_code": 0 if asked else None}
    assert run["text"] == "[user] Hi"
    assert ("rkllm_is_running" in [line[3] for line in daemon.trace()]) == asked


@pytest.mark.parametrize(
    ("version", "setting", "function"),
    [
        ("1.2.1", "auto", "rkllm_run"),
        ("1.2.2", "auto", "rkllm_run_async"),
        ("1.3.0", "auto", "rkllm_run_async"),
        ("1.2.1", "rkllm_run_async", "rkllm_run_async"),
        ("1.3.0", "rkllm_run", "rkllm_run"),
    ],
)
def test_the_c_function_behind_run_async(
    start: Callable[..., Daemon], version: str, setting: str, function: str
) -> None:
    daemon = start("--run-async-calls", setting, version=version)
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hi"})
        messages = wire.until_final(1)
    assert "".join(message["result"]["text"] for message in messages) == "[user] Hi"
    assert len(messages) > 2, "it streams either way"
    assert [line[3] for line in daemon.trace() if line[3].startswith("rkllm_run") and line[2] == "enter"] == [function]
