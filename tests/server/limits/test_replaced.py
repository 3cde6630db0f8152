"""An NPU that stays stuck: the daemon answers what it can, ends itself, and another one takes its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.keeper.ties import REPLACE_ME
from tests.daemon import ENDLESS, Start, until
from tests.server.jobs.submitting import look, submit
from tests.wire_connection import kind

# Nothing happens in the run, which is noticed after a second; a second later the NPU is given up.
HANGS = "run=hang"
SOON = ("--no-progress-seconds", "1", "--device-lost-seconds", "1", "--run-async-calls", "rkllm_run")


def test_the_next_daemon_serves_on_the_same_socket(start: Start, tmp_path: Path) -> None:
    daemon = start(*SOON, "--state-directory", str(tmp_path), keeper=True, scenario=HANGS)
    daemon.load()
    with daemon.connect() as wire:
        before = wire.ask("server.status")["result"]
        job = submit(wire, "rkllm.run", {"prompt": "Hello"})
        assert wire.receive() is None, "the daemon has gone"
    with daemon.connect() as wire:
        after = wire.ask("server.status")["result"]
        assert after["pid"] == before["pid"]
        until("the model has come back", lambda: wire.ask("server.status")["result"]["state"] == "idle")
        assert after["daemon_pid"] != before["daemon_pid"]
        error = look(wire, job)["error"]["data"]
        assert error["kind"] == "Crashed"
        call = error["crash"]["call"]
        assert (call["function"], call["method"], call["job"]) == ("rkllm_run", "rkllm.run", job)
        assert "in _call" in error["crash"]["stacks"]
    (given_up,) = daemon.events("device_given_up")
    assert given_up["reason"].startswith("rkllm.run has no token after")
    assert [event["end"] for event in daemon.events("daemon_ended")] == [f"exit status {REPLACE_ME}"]
    assert daemon.stop() == 0


def test_what_is_in_flight_is_answered_first(start: Start) -> None:
    daemon = start(*SOON, scenario=HANGS)
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.run_async", {"prompt": "Hello"}, "runs")
        daemon.wait_enter("rkllm_run")
        other.request("rkllm.run", {"prompt": "Hello"}, "waits")
        assert kind(other.final("waits")) == "DeviceLost"
        assert kind(wire.final("runs")) == "DeviceLost"
        assert wire.receive() is None
    assert daemon.wait_end() == REPLACE_ME


@pytest.mark.parametrize("function", ["rkllm_abort", "rkllm_is_running"])
def test_what_hangs_beside_a_run_is_named(start: Start, function: str) -> None:
    impatient = ("--grace-ms", "100", "--no-progress-seconds", "1", "--device-lost-seconds", "1")
    daemon = start(*impatient, keeper=True, scenario=f"{ENDLESS};hold.{function}=1")
    handle = daemon.load(max_new_tokens=0)
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        daemon.wait_enter("rkllm_run_async" if function == "rkllm_abort" else function)
        if function == "rkllm_abort":
            assert "result" in (wire.receive() or {})
            other.request("rkllm.abort", None, "abort")
        assert kind(wire.final("run")) == "DeviceLost"
    with daemon.connect() as wire:
        crash = wire.ask("server.status")["result"]["last_crash"]
        call = crash["call"]
        assert (call["function"], call["method"], call["handle"]) == (function, "rkllm.run_async", handle)
        assert crash["end"] == f"exit status {REPLACE_ME}"
        assert "in raw_call" in crash["stacks"]
