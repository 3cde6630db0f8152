"""server.status and server.queue: what the daemon says about itself, while it is idle, loading and running."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import rkllmd
from tests.rkllm.board import Board


def status(board: Board) -> dict[str, Any]:
    return dict(board.result("server.status"))


def test_the_status_of_an_idle_daemon(board: Board) -> None:
    found = status(board)
    assert set(found) == {
        "state",
        "current",
        "queue_length",
        "models",
        "declared",
        "declared_models",
        "contexts",
        "device_lost",
        "matmuls",
        "memories",
        "clients",
        "npu_load",
        "soc",
        "memory",
        "pid",
        "daemon_pid",
        "uptime_s",
        "store",
        "versions",
        "last_crash",
        "log",
    }
    assert (found["state"], found["current"], found["queue_length"]) == ("idle", None, 0)
    assert (found["models"], found["contexts"], found["matmuls"], found["clients"]) == ([], [], [], 1)
    assert found["memories"] == []
    assert found["last_crash"] is None
    assert found["memory"]["total_bytes"] > found["memory"]["available_bytes"] > 0
    assert 5_000_000 < found["memory"]["daemon_resident_bytes"] < 500_000_000
    versions = found["versions"]
    assert versions["daemon"] == rkllmd.__version__
    assert versions["machine"] == os.uname().machine
    runtime = versions["runtime"]
    assert (runtime["name"], runtime["version"], runtime["layout"]) == ("simulator", board.version, board.layout)
    assert runtime["library"].endswith("librkllmrt.so")
    assert runtime["reason"] == "the configuration says so"
    rknn_runtime = versions["rknn_runtime"]
    assert (rknn_runtime["name"], rknn_runtime["version"]) == ("simulator", "2.3.2")
    assert rknn_runtime["library"].endswith("librknnrt.so")
    assert rknn_runtime["reason"] == "the configuration says so"
    assert status(board)["uptime_s"] >= found["uptime_s"] >= 0


def test_the_status_of_a_loaded_model(board: Board) -> None:
    path = board.file("sized.rkllm", b"SIMMODEL" + bytes(100))
    handle = board.result("rkllm.init", {"model_path": path, "max_context_len": 2048, "extend_param": {"n_batch": 2}})[
        "handle"
    ]
    (model,) = status(board)["models"]
    assert model.pop("loaded_s") >= 0
    assert model.pop("unused_s") >= 0
    assert model == {
        "handle": handle,
        "name": None,
        "model_path": path,
        "state": "loaded",
        "size_bytes": 108,
        "base_domain_id": 0,
        "n_batch": 2,
        "max_context_len": 2048,
        "trained_context_len": None,
        "chat_template": None,
        "thinking": None,
        "infill": None,
        "vision": None,
        "pooling": None,
        "lora_adapters": [],
        "cross_attention": None,
        "paused": False,
    }


def test_the_status_while_a_model_loads(board: Board) -> None:
    board.script(hold__rkllm_init=1)
    with board.connect() as other:
        other.request("rkllm.init", {"model_path": str(board.model)}, "load")
        board.daemon.wait_for("the load", lambda: "rkllm_init" in board.calls())
        found = status(board)
        assert found["state"] == "loading"
        assert found["current"]["method"] == "rkllm.init"
        assert found["current"]["client"].endswith(f"(pid {os.getpid()}, uid {os.getuid()})")
        assert found["current"]["progress"].keys() == {"phase", "bytes_read", "bytes", "fraction", "expected_ms"}
        assert found["current"]["progress"]["phase"] == "load"
        assert (found["models"], found["clients"]) == ([], 2)
        again = status(board)
        assert again["current"]["elapsed_ms"] >= found["current"]["elapsed_ms"] >= 0
        board.daemon.let_go()
        assert other.final("load")["result"]["success"] is True
    assert status(board)["state"] == "idle"


def test_the_status_and_the_queue_during_a_run(board: Board) -> None:
    board.load(max_new_tokens=0)
    with board.connect() as first, board.connect() as second:
        board.start_endless_run(first)
        second.request("rkllm.run", {"prompt": "Hi"}, "a")
        second.request("rkllm.clear_kv_cache", None, "b")
        second.request("rkllm.destroy", None, "c")
        second.request("server.queue", None, "asked")
        queue = second.receive()["result"]
        assert [(entry["method"], entry["position"]) for entry in queue["queue"]] == [
            ("rkllm.run", 0),
            ("rkllm.clear_kv_cache", 1),
            ("rkllm.destroy", 2),
        ]
        assert queue["length"] == 3
        assert queue["limit"] > 3
        for entry in queue["queue"]:
            assert set(entry) == {"method", "client", "priority", "position", "queued_ms", "estimated_wait_ms", "own"}
            assert entry["own"] is True
            assert entry["priority"] == "normal"
            assert entry["client"].endswith(f"(pid {os.getpid()}, uid {os.getuid()})")
            assert entry["queued_ms"] >= 0
        [running] = queue["running"]
        assert (running["method"], running["progress"]["phase"], running["own"]) == (
            "rkllm.run_async",
            "generate",
            False,
        )
        assert not any(entry["own"] for entry in board.result("server.queue")["queue"])
        found = status(board)
        assert (found["state"], found["queue_length"], found["clients"]) == ("running", 3, 3)
        assert found["current"]["method"] == "rkllm.run_async"
        assert found["current"]["progress"]["phase"] == "generate"
        assert "text" not in found["current"]["progress"], "what a run says is not for everybody"
        tokens = found["current"]["progress"]["tokens"]
        assert tokens >= 1
        while status(board)["current"]["progress"]["tokens"] == tokens:
            pass  # progress is made
        for call_id in "abc":
            second.request("server.cancel", {"id": call_id}, f"cancel {call_id}")
            assert {second.receive()["id"], second.receive()["id"]} == {call_id, f"cancel {call_id}"}
        assert board.result("server.queue")["queue"] == []


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_a_full_queue_refuses_with_numbers(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--max-queue", "2", "--max-calls-per-connection", "1")
    board.load(max_new_tokens=0)
    with board.connect() as first, board.connect() as second, board.connect() as third:
        board.start_endless_run(first)
        second.request("rkllm.run", {"prompt": "Hi"}, 1)
        own = second.ask("rkllm.run", {"prompt": "Hi"}, 2)["error"]
        assert (own["code"], own["data"]["kind"]) == (-32001, "QueueFull")
        assert (own["data"]["queued"], own["data"]["limit"]) == (1, 1)
        third.request("rkllm.run", {"prompt": "Hi"}, 1)
        third.ask("server.queue", None, 2)
        whole = board.error("rkllm.run", {"prompt": "Hi"})
        assert (whole["data"]["queued"], whole["data"]["limit"]) == (2, 2)
        assert whole["data"]["retry_after_ms"] > 0
        assert board.result("server.queue")["limit"] == 2
        first.request("server.cancel", {"id": "endless"})
        second.request("server.cancel", {"id": 1}, 3)
        third.request("server.cancel", {"id": 1}, 3)
        for wire in (second, third):
            wire.final(3)
