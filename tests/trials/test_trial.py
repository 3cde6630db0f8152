"""Trials with a runtime that is scripted to do what files can do: it dies, hangs, leaves, refuses."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rkllmd.store import learned
from rkllmd.trials.trial import Trials
from tests.daemon import Daemon, Start, until
from tests.processes import descendants, state_of
from tests.store.stores import opened
from tests.wire_connection import kind


def is_alive(pid: int) -> bool:
    return state_of(Path(f"/proc/{pid}")) not in ("", "Z", "X")


@pytest.mark.parametrize(
    ("scenario", "death", "status"),
    [
        ("init=segfault", "SIGSEGV", None),
        ("init=abort", "SIGABRT", None),
        ("init=exit", "exit status 3", None),
        ("init=illegal", "SIGILL", None),
        ("run=segfault", "SIGSEGV", None),
        ("init=fail", None, -1),
    ],
)
def test_what_happens_in_the_trial_is_told(start: Start, scenario: str, death: str | None, status: int | None) -> None:
    daemon = start("--trial-loads", "always", scenario=scenario)
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": str(daemon.model)})["error"]
        assert error["data"]["kind"] == "RuntimeError"
        assert error["data"].get("signal") == death
        assert error["data"]["status"] == status
        assert error["data"]["function"] == ("rkllm_run" if scenario.startswith("run") else "rkllm_init")
        assert wire.ask("server.status")["result"]["state"] == "idle"


def test_an_instruction_that_the_processor_lacks_is_not_the_files_fault(start: Start) -> None:
    """RKLLM 1.3.0 had SVE instructions, which no RK3588 has."""
    daemon = start("--trial-loads", "always", "--soc", "rk3588", version="1.3.0", scenario="init=illegal")
    with daemon.connect() as wire:
        for _ in range(2):  # the verdict is not remembered
            message = wire.ask("rkllm.init", {"model_path": str(daemon.model)})["error"]["message"]
            assert "has an instruction that this processor lacks (SIGILL in rkllm_init)" in message
            assert "RKLLM 1.3.0 was reported to use SVE" in message
            assert daemon.calls("rkllm_init") == 1
            os.truncate(daemon.trace_path, 0)  # what has died in C has left nothing there


def test_the_vendors_runtime_is_left_alone_by_default(start: Start) -> None:
    daemon = start()
    daemon.load()
    assert daemon.calls("rkllm_init") == 1
    assert daemon.events("file_tried") == []


def hanging(start: Start) -> Daemon:
    """Return a daemon whose trials hang in rkllm_init."""
    return start("--trial-loads", "always", scenario="init=hang")


def test_a_trial_ends_when_its_call_is_cancelled(start: Start) -> None:
    daemon = hanging(start)
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rkllm_init")
        children = descendants(daemon.process.pid)
        assert wire.ask("$/cancelRequest", {"id": 1}, 2)["id"] == 2
        assert kind(wire.final(1)) == "Cancelled"
        until("the children have ended", lambda: not any(map(is_alive, children)))
        assert wire.ask("rknn.get_functions", None, 3)["result"]
        assert wire.ask("server.status", None, 4)["result"]["state"] == "idle"


def test_a_trial_ends_at_the_calls_limit(start: Start) -> None:
    daemon = hanging(start)
    with daemon.connect() as wire:
        assert kind(wire.ask("rkllm.init", {"model_path": str(daemon.model)}, 1, timeout_ms=200)) == "Timeout"
        until("the NPU is idle", lambda: wire.ask("server.status", None, 2)["result"]["state"] == "idle")


def test_others_are_served_while_a_trial_is_on(start: Start) -> None:
    daemon = hanging(start)
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rkllm_init")
        assert other.ask("server.status")["result"]["state"] == "loading"
        wire.ask("$/cancelRequest", {"id": 1}, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_trial_does_not_outlive_the_daemon(start: Start, number: int) -> None:
    daemon = hanging(start)
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rkllm_init")
        children = descendants(daemon.process.pid)
        assert len(children) >= 2
        daemon.stop(number)
        until("the children have ended", lambda: not any(map(is_alive, children)))


def test_the_client_of_an_rknn_load_that_goes_ends_its_trial(start: Start) -> None:
    daemon = start("--trial-loads", "always", rknn_scenario="fault.rknn_init=hang")
    with daemon.connect() as wire:
        wire.request("rknn.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rknn_init")
    with daemon.connect() as wire:
        until("the NPU is idle", lambda: wire.ask("server.status")["result"]["state"] == "idle")


def test_verdicts_are_kept_and_bounded(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        trials = Trials(learned.verdicts(store))
        for number in range(2100):
            trials.learn(str(number), {})
    with opened(tmp_path) as store:
        again = Trials(learned.verdicts(store))
        assert (again.find("0"), again.find("2099")) == (None, {})
        assert len(learned.verdicts(store).read()) == 2000


def test_the_service_outlives_a_trial_that_the_kernel_kills_for_its_memory() -> None:
    unit = Path(__file__).parents[2] / "systemd" / "rkllmd.service"
    assert "OOMPolicy=continue" in unit.read_text().splitlines()
