"""A model that crashes the daemon again and again is set aside, and the daemon serves the others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.rknn.board import BYTES, ECHO
from tests.wire_connection import kind

Start = Callable[..., Daemon]


def crashes(daemon: Daemon, method: str, params: Any) -> None:
    """Have a call crash the daemon."""
    with daemon.connect() as wire:
        wire.request(method, params, 1)
        assert wire.receive() is None


def test_a_model_that_crashes_three_times_is_set_aside_until_something_changes(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    daemon = start("--state-directory", str(state), keeper=True, scenario="init=segfault", changing=True)
    model, other = tmp_path / "model.rkllm", tmp_path / "other.rkllm"
    for path in (model, other):
        path.touch()
    load = {"model_path": str(model)}
    for _ in range(3):
        crashes(daemon, "rkllm.init", load)
    daemon.play(text="Hello")
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", load)["error"]
        assert (error["code"], error["data"]["kind"]) == (-32015, "Quarantined")
        assert error["data"]["function"] == "rkllm_init"
        assert [crash["end"] for crash in error["data"]["crashes"]] == ["SIGSEGV"] * 3
        assert "result" in wire.ask("rkllm.init", {"model_path": str(other)})
        assert "result" in wire.ask("rkllm.destroy")
    daemon.stop()
    again = start("--state-directory", str(state), keeper=True, directory=daemon.directory, changing=True)
    with again.connect() as wire:
        assert kind(wire.ask("rkllm.init", load)) == "Quarantined", "it outlives the keeper as well"
        model.write_bytes(b"SIMMODEL")
        assert "result" in wire.ask("rkllm.init", load), "another file"


def test_force_tries_it_and_a_loaded_one_that_crashes_in_its_runs_is_not_woken(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    daemon = start("--state-directory", str(state), keeper=True, scenario="run=abort", changing=True)
    handle = daemon.load()
    for _ in range(3):
        crashes(daemon, "rkllm.run", {"prompt": "Hi"})
    daemon.play(text="Hello")
    with daemon.connect() as wire:
        assert kind(wire.ask("rkllm.run", {"handle": handle, "prompt": "Hi"})) == "Quarantined"
        forced = wire.ask("rkllm.init", {"model_path": str(daemon.model), "force": True})["result"]["handle"]
        assert wire.ask("rkllm.run", {"handle": forced, "prompt": "Hi"})["result"]["text"] == "Hello"


@pytest.mark.parametrize("by_path", [True, False])
def test_models_of_rknn_are_set_aside_by_path_or_by_their_contents(start: Start, tmp_path: Path, by_path: bool) -> None:
    state, script = tmp_path / "state", tmp_path / "rknn"
    state.mkdir(mode=0o700)
    script.write_text("run=segfault\n")
    daemon = start("--state-directory", str(state), keeper=True, rknn_scenario=f"@{script}")
    path = tmp_path / "model.rknn"
    path.write_bytes(ECHO)
    model = {"model_path": str(path)} if by_path else {"model": {"data": base64.b64encode(ECHO).decode()}}
    inputs = {"data": base64.b64encode(BYTES).decode()}
    for _ in range(3):
        with daemon.connect() as wire:
            context = wire.ask("rknn.init", model)["result"]["context"]
            wire.request("rknn.run", {"context": context, "inputs": inputs}, 2)
            assert wire.receive() is None
    script.write_text("")
    with daemon.connect() as wire:
        assert kind(wire.ask("rknn.init", model)) == "Quarantined"
        assert "result" in wire.ask("rknn.init", {**model, "force": True})
