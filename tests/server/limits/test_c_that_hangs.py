"""A C function that does not return holds up only those who wait for it: the event loop is never in C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ENDLESS, Daemon, Start
from tests.wire_connection import kind

# Method by method: the C function that hangs for it, and what it is called with.
ON_THE_WORKER: dict[str, tuple[str, Any]] = {
    "rkllm.get_kv_cache_size": ("rkllm_get_kv_cache_size", None),
    "rkllm.clear_kv_cache": ("rkllm_clear_kv_cache", [None, 1]),
    "rkllm.set_chat_template": ("rkllm_set_chat_template", {"prompt_prefix": "#"}),
    "rkllm.set_function_tools": ("rkllm_set_function_tools", {"tools": []}),
    "rkllm.set_cross_attn_params": (
        "rkllm_set_cross_attn_params",
        {"encoder_k_cache": [0.0], "encoder_v_cache": [0.0], "encoder_mask": [1.0], "encoder_pos": [0]},
    ),
    "rkllm.release_prompt_cache": ("rkllm_release_prompt_cache", None),
    "rkllm.run_async": ("rkllm_is_running", {"prompt": "Hi"}),
}
INSTANT = ("server.status", "rkllm.is_running", "rkllm.createDefaultParam", "rkllm.get_kv_cache_size", "rkllm.abort")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = Path(tmp_path_factory.mktemp("hanging"))
    with Daemon(folder, changing=True) as started:
        with started.connect() as wire:
            wire.ask("rkllm.init", {"model_path": str(started.model), "extend_param": {"use_cross_attn": 1}})
        yield started


@pytest.mark.parametrize("method", ON_THE_WORKER)
def test_others_are_answered_meanwhile(daemon: Daemon, method: str) -> None:
    function, params = ON_THE_WORKER[method]
    daemon.hold()
    daemon.play(**{f"hold.{function}": 1})
    before = daemon.calls(function)
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request(method, params, "hangs")
        daemon.wait_enter(function, before + 1)
        for instant in INSTANT:
            assert kind(other.ask(instant)) is None, f"{instant} while {function} hangs"
        daemon.let_go()
        assert kind(wire.final("hangs")) is None


def test_the_defaults_are_asked_for_once(daemon: Daemon) -> None:
    before = daemon.calls("rkllm_createDefaultParam")
    with daemon.connect() as wire:
        assert kind(wire.ask("rkllm.createDefaultParam")) is None
    assert daemon.calls("rkllm_createDefaultParam") == before


def test_an_abort_that_hangs_is_told_to_who_asked_and_the_npu_is_lost(start: Start) -> None:
    daemon = start("--grace-ms", "100", scenario=f"{ENDLESS};hold.rkllm_abort=1")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as runner, daemon.connect() as other:
        runner.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        assert "result" in (runner.receive() or {})
        error = other.ask("rkllm.abort")["error"]
        assert error["data"]["kind"] == "Timeout"
        assert error["message"].startswith("rkllm_abort has not returned for")
        status = other.ask("server.status")["result"]
        assert status["state"] == "wedged"
        assert status["device_lost"]["reason"].startswith("rkllm_abort has not returned for")
        assert kind(other.ask("rkllm.run", {"prompt": "Hi"})) == "DeviceLost"
        daemon.let_go()
        assert runner.final("run")["result"]["finish_reason"] == "abort"
        while other.ask("server.status")["result"]["state"] == "wedged":
            pass
        assert daemon.events("device_back")


def test_the_daemon_leaves_while_c_hangs(start: Start) -> None:
    daemon = start(scenario=f"{ENDLESS};hold.rkllm_abort=1;hold.rkllm_clear_kv_cache=1")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as runner, daemon.connect() as other:
        runner.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        assert "result" in (runner.receive() or {})
        other.request("rkllm.clear_kv_cache", [None, 1], "waits")
        other.request("rkllm.abort", None, "abort")
        daemon.wait_enter("rkllm_abort")
        assert daemon.stop() == 0
