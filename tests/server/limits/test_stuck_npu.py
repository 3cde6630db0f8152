"""An NPU that is stuck: how it is noticed, who is told what, and when it is tried again."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.daemon import Start
from tests.server.limits.waiting import ENDLESS, PICTURE, QUICK, ask_until, load_vision, wait_state
from tests.wire_connection import kind


def test_a_call_that_never_returns_stops_the_queue_and_says_what_helps(start: Start) -> None:
    limits = ("--first-token-timeout-ms", "300", "--grace-ms", "100")
    daemon = start(*limits, scenario={**QUICK, "run": "hang"})
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.run", {"prompt": "Hello"}, 1)
        daemon.wait_enter("rkllm_run")
        other.request("rkllm.run", {"prompt": "Hello"}, 2)
        other.request("rkllm.run", {"prompt": "Hello"}, 3)
        assert kind(wire.final(1)) == "Timeout"
        lost = other.final(2)["error"]
        assert (lost["code"], lost["data"]["kind"]) == (-32012, "DeviceLost")
        assert "rkllm.run has not returned" in lost["data"]["reason"]
        assert "systemctl restart rkllmd" in lost["data"]["advice"]
        assert lost["data"]["advice"] in lost["message"]
        assert kind(other.final(3)) == "DeviceLost"
        assert kind(wire.ask("rkllm.run", {"prompt": "Hello"}, 4)) == "DeviceLost"
        status = wire.ask("server.status")["result"]
        assert (status["state"], status["queue_length"]) == ("wedged", 0)
        assert status["device_lost"]["since"] == lost["data"]["since"]
        assert status["device_lost"]["retry_after_ms"] is None
        assert "result" in wire.ask("rkllm.get_constants"), "what needs no NPU is answered"
    assert len(daemon.events("device_lost")) == 1


def test_an_npu_whose_call_does_return_in_the_end_is_back(start: Start) -> None:
    limits = ("--timeouts-ms", "rknn.run=50", "--grace-ms", "50")
    daemon = start(*limits, rknn_scenario="run_us=2000000")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        assert kind(wire.ask("rknn.run", PICTURE, 1)) == "Timeout"
        wait_state(wire, "wedged")
        assert kind(wire.ask("rknn.query", {"cmd": "RKNN_QUERY_PERF_RUN"})) == "DeviceLost"
        wait_state(wire, "idle")
        assert wire.ask("server.status")["result"]["device_lost"] is None
        assert "result" in wire.ask("rknn.query", {"cmd": "RKNN_QUERY_PERF_RUN"})
    assert len(daemon.events("device_back")) == 1


def test_a_line_of_the_runtime_that_means_a_stuck_npu_stops_the_queue_until_a_trial_succeeds(start: Start) -> None:
    daemon = start("--device-retry-seconds", "1", rknn_scenario="run=fail@1")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        assert kind(wire.ask("rknn.run", PICTURE, 1)) == "RuntimeError"
        lost = wire.ask("rknn.run", PICTURE, 2)["error"]
        assert lost["data"]["kind"] == "DeviceLost"
        assert "failed to submit!" in lost["data"]["reason"]
        assert 0 < lost["data"]["retry_after_ms"] <= 1000
        assert "result" in ask_until(wire, "rknn.run", PICTURE, None), "after a second one call is let through"
        assert wire.ask("server.status")["result"]["state"] == "idle"
        assert daemon.calls("rknn_run") == 2, "nothing was sent to it meanwhile"


def test_a_trial_that_fails_waits_again(start: Start) -> None:
    daemon = start("--device-retry-seconds", "1", rknn_scenario="run=fail")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        since = []
        for _ in range(3):
            ask_until(wire, "rknn.run", PICTURE, "RuntimeError")
            status = wire.ask("server.status")["result"]
            assert status["state"] == "wedged"
            since.append(status["device_lost"]["since"])
        assert len(set(since)) == 1, "it is stuck since the first time"
        assert daemon.calls("rknn_run") == 3
    assert daemon.events("device_back") == []


def test_a_reload_takes_new_limits_over(start: Start, tmp_path: Any) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("grace_ms = 100\n")
    daemon = start("--config", str(file), scenario=ENDLESS)
    daemon.load()
    file.write_text("grace_ms = 100\nfirst_token_timeout_ms = 60\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded")
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "Hello"})
        assert answer["error"]["data"]["limit_ms"] == 60
    file.write_text('[timeouts_ms]\n"rkllm.rum" = 100\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reload_failed")


def test_what_a_client_has_named_does_not_pass_for_a_stuck_npu(start: Start) -> None:
    """The runtimes print names and paths; none of them may stop everybody's calls."""
    daemon = start(scenario=QUICK)
    daemon.load()
    model = daemon.directory / "failed to submit!.rkllm"
    model.touch()
    with daemon.connect() as wire:
        for name in ("failed to submit!", "E RKNN: failed to submit!"):
            lora = {"prompt": "Hello", "lora_params": {"lora_adapter_name": name}}
            assert kind(wire.ask("rkllm.run", lora)) == "RuntimeError"
            assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})
        forged = {"prompt": "Hello", "lora_params": {"lora_adapter_name": "x\nE RKNN: failed to submit!"}}
        assert kind(wire.ask("rkllm.run", forged)) == "InvalidParams"
        assert kind(wire.ask("rkllm.init", {"model_path": "/tmp/x\nE RKNN: failed to submit!"})) == "InvalidParams"
        assert "result" in wire.ask("rkllm.init", {"model_path": str(model), "replace": True})
        assert wire.ask("server.status")["result"]["state"] == "idle"


def test_a_line_during_a_call_that_succeeds_is_not_believed(start: Start) -> None:
    line = "E RKNN: [00:00:00.000] failed to submit!, op id: 1"
    daemon = start(scenario={**QUICK, "print.stderr": line, "print_at": 1})
    daemon.load()
    with daemon.connect() as wire:
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})
        daemon.wait_for("the line", lambda: line in daemon.log())
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})


def test_a_line_of_a_call_that_succeeded_is_not_held_against_the_next_one(start: Start) -> None:
    line = "E RKNN: [00:00:00.000] failed to submit!, op id: 1"
    printed = {"print.stdout": line, "print_at": 1, "print_newline": 0}
    daemon = start(scenario={**QUICK, **printed, "return.rkllm_load_lora": -1})
    daemon.load()
    lora = {"lora_adapter_path": str(daemon.model), "lora_adapter_name": "x", "scale": 1.0}
    requests = [("rkllm.run", {"prompt": "Hello"}), ("rkllm.load_lora", lora), ("rkllm.run", {"prompt": "Hello"})]
    with daemon.connect() as wire:
        found = [kind(wire.ask(method, params)) for method, params in requests]
    assert found == [None, "RuntimeError", None], "the NPU is well"


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_a_generation_that_fails_with_such_a_line_has_lost_the_npu_and_is_no_proof_that_it_is_back(
    start: Start, method: str
) -> None:
    line = "E RKNN: [00:00:00.000] failed to submit!, op id: 1"
    failing = {"text": "abcdef", "run": "fail", "print.stderr": line, "print_at": "rkllm_run"}
    daemon = start("--device-retry-seconds", "1", "--run-async-calls", "rkllm_run", scenario=failing)
    daemon.load()
    with daemon.connect() as wire:
        for _ in range(2):  # the second is the trial
            ask_until(wire, method, {"prompt": "Hello"}, "RuntimeError")
            assert wire.ask("server.status")["result"]["state"] == "wedged"
    assert daemon.events("device_back") == []


def test_a_hang_in_what_the_daemon_does_itself_is_told(start: Start) -> None:
    """A context is destroyed when its client goes, and nobody waits for the answer."""
    daemon = start("--timeouts-ms", "default=100", "--grace-ms", "100", rknn_scenario="hold.rknn_destroy=1")
    daemon.hold()
    with daemon.connect() as wire:
        load_vision(daemon, wire)
    with daemon.connect() as wire:
        wait_state(wire, "wedged")
        assert "rknn.destroy" in wire.ask("server.status")["result"]["device_lost"]["reason"]
        daemon.let_go()
        wait_state(wire, "idle")


def test_nothing_goes_into_the_runtime_on_the_event_loop_while_the_npu_is_lost(start: Start) -> None:
    daemon = start("--timeouts-ms", "rknn.run=50", "--grace-ms", "50", rknn_scenario="hold.rknn_run=1")
    daemon.load()
    daemon.hold()
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        assert kind(wire.ask("rknn.run", PICTURE, 1)) == "Timeout"
        wait_state(wire, "wedged")
        before = daemon.calls("rkllm_get_kv_cache_size")
        assert kind(wire.ask("rkllm.clear_kv_cache", [None, 1])) == "DeviceLost"
        assert wire.ask("rkllm.get_kv_cache_size")["result"]["cache_sizes"] == [0]
        assert wire.ask("rkllm.is_running")["result"] == {"is_running": False, "status_code": None}
        assert daemon.calls("rkllm_clear_kv_cache") == 0
        assert daemon.calls("rkllm_get_kv_cache_size") == before
        daemon.let_go()
        wait_state(wire, "idle")


def test_a_client_whose_calls_fail_does_not_keep_the_npu_lost(start: Start) -> None:
    daemon = start("--device-retry-seconds", "1", rknn_scenario="run=fail@1")
    broken = daemon.directory / "broken.rknn"
    broken.write_bytes(b"NOT A MODEL")
    with daemon.connect() as wire, daemon.connect() as other:
        load_vision(daemon, wire)
        assert kind(wire.ask("rknn.run", PICTURE)) == "RuntimeError"
        ask_until(other, "rknn.init", {"model_path": str(broken)}, "RuntimeError")
        assert wire.ask("server.status")["result"]["state"] == "wedged", "that proved nothing, and cost nobody a turn"
        assert "result" in wire.ask("rknn.run", PICTURE)
        assert wire.ask("server.status")["result"]["state"] == "idle"


def test_what_was_made_too_late_is_released(start: Start) -> None:
    daemon = start("--grace-ms", "50", rknn_scenario="hold.rknn_matmul_create=1")
    shape = {"M": 2, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32", "keep": True}
    daemon.hold()
    with daemon.connect() as wire:
        assert kind(wire.ask("rknn.matmul_create", shape, timeout_ms=50)) == "Timeout"
        daemon.let_go()
        while wire.ask("server.status")["result"]["matmuls"] or not daemon.calls("rknn_matmul_destroy"):
            pass


def test_a_model_that_is_woken_takes_its_time(start: Start) -> None:
    """A load is allowed more than the call that waits for it."""
    limits = ("--timeouts-ms", "default=300:rkllm.init=600000", "--grace-ms", "50")
    daemon = start(*limits, "--model-idle-minutes", "0.001", scenario="", changing=True)
    daemon.load()
    with daemon.connect() as wire:
        while wire.ask("server.status")["result"]["models"][0]["state"] != "asleep":
            pass
        daemon.play(delay__rkllm_init=1500)
        assert "result" in wire.ask("rkllm.clear_kv_cache", [None, 1])
        assert wire.ask("server.status")["result"]["device_lost"] is None


def test_a_load_that_was_to_replace_another_says_what_became_of_it(start: Start) -> None:
    daemon = start("--grace-ms", "600000", scenario="", changing=True)
    handle = daemon.load()
    daemon.play(delay__rkllm_init=1000)
    with daemon.connect() as wire:
        params = {"model_path": str(daemon.model), "replace": True}
        answer = wire.ask("rkllm.init", params, timeout_ms=50)
        assert kind(answer) == "Timeout"
        assert answer["error"]["data"]["restored"] == [handle]


def test_shutdown_does_not_wait_for_a_lost_npu(start: Start) -> None:
    daemon = start("--device-retry-seconds", "3600", rknn_scenario="run=fail")
    daemon.load()
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        assert kind(wire.ask("rknn.run", PICTURE)) == "RuntimeError"
        assert wire.ask("server.status")["result"]["state"] == "wedged"
        daemon.stop()
    assert daemon.calls("rkllm_destroy") == 1
    assert daemon.calls("rknn_destroy") == 1
