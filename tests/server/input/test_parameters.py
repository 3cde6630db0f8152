"""Wrong parameters and files: nothing is executed, and the next good request is answered."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.server.input.requests import assert_recovered
from tests.wire_connection import kind

WRONG_PARAMS: dict[str, tuple[str, Any]] = {
    "unknown field": ("rkllm.init", {"model_path": "/m", "max_context_length": 1}),
    "unknown parameter": ("server.cancel", {"id": 1, "idd": 2}),
    "wrong type": ("rkllm.init", {"model_path": 1}),
    "missing": ("rkllm.init", {}),
    "null for a struct": ("rkllm.init", [None]),
    "out of range": ("rkllm.init", {"model_path": "/m", "top_k": 2**31}),
    "far out of range": ("rkllm.init", {"model_path": "/m", "top_k": 2**70}),
    "a fraction": ("rkllm.init", {"model_path": "/m", "top_k": 1.5}),
    "true for a number": ("rkllm.init", {"model_path": "/m", "top_k": True}),
    "a huge array of the wrong type": ("rkllm.init", {"model_path": list(range(10**6))}),
    "a huge array": ("rkllm.init", list(range(10**6))),
    "a huge object": ("rkllm.init", {f"key{number}": number for number in range(6 * 10**4)}),
    "a huge string for a number": ("rkllm.init", {"model_path": "/m", "top_k": "9" * 10**6}),
    "a huge name": ("rkllm.init", {"x" * 10**6: 1}),
    "nested deeply": ("rkllm.init", {"model_path": json.loads("[" * 120 + "]" * 120)}),
    "too many positions": ("rkllm.init", [{"model_path": "/m"}, None, None, None, 1]),
    "NUL in a path": ("rkllm.init", {"model_path": "/m\0n"}),
    "a relative path": ("rkllm.init", {"model_path": "model.rkllm"}),
    "a huge path": ("rkllm.init", {"model_path": "/" + "x" * 10**6}),
    "a huge relative path": ("rkllm.init", {"model_path": "x" * 10**6}),
    "a huge absolute path": ("rkllm.init", {"model_path": "/" * 2**20}),
    "a huge string for an enum": ("rkllm.run", {"prompt": "x", "input_type": "A" * 2**20}),
    "a huge string for a handle": ("rkllm.run", {"handle": "A" * 2**20, "prompt": "x"}),
    "a huge string for a struct": ("rkllm.run", {"rkllm_input": "A" * 2**20}),
    "a huge string for a query": ("rknn.query", {"cmd": "A" * 2**20}),
    "a huge string for a tensor's name": (
        "rknn.set_io_mem",
        {"mem": 1, "attr": {"name": "A" * 2**20}},
    ),
    "a name too long": ("rkllm.init", {"model_path": "/" + "x" * 1000}),
    "no file": ("rkllm.init", {"model_path": "/nowhere/model.rkllm"}),
    "a directory": ("rkllm.init", {"model_path": "/"}),
    "a device": ("rkllm.init", {"model_path": "/dev/zero"}),
    "an empty path": ("rkllm.init", {"model_path": ""}),
}


@pytest.mark.parametrize("name", WRONG_PARAMS)
def test_wrong_parameters_are_refused_before_anything_runs(serving: Daemon, name: str) -> None:
    method, params = WRONG_PARAMS[name]
    loads = serving.calls("rkllm_init")
    with serving.connect() as wire:
        error = wire.ask(method, params)
        assert (kind(error), error["error"]["code"]) == ("InvalidParams", -32602)
        data = error["error"]["data"]
        assert data["path"].startswith("$")
        assert isinstance(data["keyword"], str)
        assert len(json.dumps(error)) < 10_000, "what a client sends is not echoed"
        assert_recovered(wire)
    assert serving.calls("rkllm_init") == loads


def test_a_fifo_is_no_model(serving: Daemon, tmp_path: Path) -> None:
    """Opening one would block the NPU's thread until somebody writes."""
    os.mkfifo(tmp_path / "model.rkllm")
    with serving.connect() as wire:
        assert kind(wire.ask("rkllm.init", {"model_path": str(tmp_path / "model.rkllm")})) == "InvalidParams"
        assert_recovered(wire)


def test_a_file_that_is_no_model_gets_the_runtimes_own_words(serving: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "model.rkllm"
    path.write_text("This is not the model you are looking for.")
    with serving.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": str(path)})
        assert (kind(error), error["error"]["code"]) == ("RuntimeError", -32002)
        data = error["error"]["data"]
        assert (data["function"], data["status"]) == ("rkllm_init", -1)
        assert "E rkllm: invalid rknn llm model magic" in data["log"]
        assert_recovered(wire)


def test_a_path_outside_the_allowed_directories(start: Start, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "model.rkllm").touch()
    (inside / "model.rkllm").touch()
    (inside / "link.rkllm").symlink_to(outside / "model.rkllm")
    daemon = start("--allowed-directories", str(inside))
    with daemon.connect() as wire:
        for path in (outside / "model.rkllm", inside / "link.rkllm", f"{inside}/../outside/model.rkllm", "/etc/passwd"):
            error = wire.ask("rkllm.init", {"model_path": str(path)})
            assert (kind(error), error["error"]["code"]) == ("PermissionDenied", -32009), path
            assert_recovered(wire)
        assert daemon.calls("rkllm_init") == 0
        assert kind(wire.ask("rkllm.init", {"model_path": str(inside / "model.rkllm")})) is None
