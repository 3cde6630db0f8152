"""A runtime that can't be used is refused by name, and everything that needs no runtime is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.daemon import Daemon, Start, simulator
from tests.server.input.requests import assert_recovered
from tests.wire_connection import kind


def test_an_unknown_runtime_is_refused_by_name(start: Start) -> None:
    _check_unusable(start(library=simulator("9.9.9", layout="1.3")), "9.9.9")


@pytest.mark.parametrize(("version", "layout"), [("1.3.0", "1.2"), ("1.2.3", "1.3")])
def test_a_runtime_that_lies_about_its_structs_is_found_out(start: Start, version: str, layout: str) -> None:
    _check_unusable(start(library=simulator(version, layout=layout)), version)


def test_a_library_that_is_none(start: Start, tmp_path: Path) -> None:
    (tmp_path / "librkllmrt.so").write_bytes(b"RKLLM SDK (version: 1.3.0 | target: Linux)")
    _check_unusable(start(library=tmp_path / "librkllmrt.so"), "librkllmrt.so")


def _check_unusable(daemon: Daemon, named: str) -> None:
    with daemon.connect() as wire:
        for method, params in (
            ("rkllm.init", {"model_path": str(daemon.model)}),
            ("rkllm.createDefaultParam", None),
        ):
            error = wire.ask(method, params)
            assert (kind(error), error["error"]["code"]) == ("RuntimeUnavailable", -32011)
            assert {"searched", "found", "fix"} <= error["error"]["data"].keys()
            assert named in json.dumps(error), "it says which"
            assert_recovered(wire)
        for method in ("server.status", "rpc.discover", "rkllm.get_constants", "rkllm.get_functions"):
            assert kind(wire.ask(method)) is None, f"{method} needs no library"
        runtime = wire.ask("server.status")["result"]["versions"]["runtime"]
        assert runtime["error"]["data"]["kind"] == "RuntimeUnavailable"
        assert kind(wire.ask("rkllm.run", {"prompt_input": "Hello"})) in ("ModelNotInitialized", "RuntimeUnavailable")
    assert len(daemon.events("runtime_unavailable")) == 1
