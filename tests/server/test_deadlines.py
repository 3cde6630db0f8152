"""Calls that take too long, and an NPU that is stuck: who is told what, and that the others go on."""

from __future__ import annotations

import base64
import fcntl
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.daemon import Daemon, Wire, kind

Start = Callable[..., Daemon]

# An hour, but for an abort.
ENDLESS = {"text": "a b", "tokens": "words", "prefill_ms": 3_600_000, "prefill_abort": 1}
PICTURE = {"input_data": base64.b64encode(bytes(48)).decode()}
QUICK = {"text": "a b", "tokens": "words"}


def ask_until(wire: Wire, method: str, params: Any, wanted: str | None) -> dict[str, Any]:
    """Ask again until the answer is of this kind."""
    while kind(answer := wire.ask(method, params)) != wanted:
        pass
    return answer


def load_vision(daemon: Daemon, wire: Wire) -> None:
    """Let a connection have an RKNN model."""
    model = daemon.directory / "model.rknn"
    model.touch()
    wire.ask("rknn.init", {"model_path": str(model)})


def wait_state(wire: Wire, state: str) -> None:
    while wire.ask("server.status", call_id="state")["result"]["state"] != state:
        pass


# -- limits of a call ------------------------------------------------------------------------------------------------


def test_a_generation_without_a_first_token_is_stopped_and_the_next_one_served(start: Start) -> None:
    daemon = start(scenario=ENDLESS, changing=True)
    daemon.load()
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run_async", {"prompt": "Hello"}, first_token_timeout_ms=50)
        assert kind(answer) == "Timeout"
        assert answer["error"]["code"] == -32004
        assert answer["error"]["data"]["limit_ms"] == 50
        assert answer["error"]["data"]["elapsed_ms"] >= 50
        assert "first token" in answer["error"]["message"]
        daemon.play(**QUICK)
        assert wire.ask("rkllm.run", {"prompt": "Hello"}, timeout_ms=600_000)["result"]["text"] == "a b"


def test_a_generation_that_makes_progress_is_not_killed_by_a_clock(start: Start) -> None:
    """It takes longer than it may take for any one token, and ends just when it is looked at (after 2 and 4 s)."""
    daemon = start(scenario="text=a ;tokens=words;repeat=400;pace_us=10000")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "Hello"}, timeout_ms=2000)
        assert answer["result"]["text"] == "a " * 400


def test_a_generation_that_stops_getting_on_is_stopped(start: Start) -> None:
    daemon = start("--token-timeout-ms", "100", "--grace-ms", "100", scenario="text=a b c;tokens=words;run=hang@2")
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hello"}, 1)
        *partials, final = wire.until_final(1)
        assert [message["result"]["text"] for message in partials] == ["a ", "b "]
        assert kind(final) == "Timeout"
        assert "next token" in final["error"]["message"]


def test_a_call_that_waits_too_long_is_answered_while_the_other_goes_on(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        first.request("rkllm.run", {"prompt": "Hello"}, "held")
        daemon.wait_enter("rkllm_run")
        answer = second.ask("rkllm.run", {"prompt": "Hello"}, wait_timeout_ms=50)
        assert kind(answer) == "Timeout"
        assert answer["error"]["data"]["limit_ms"] == 50
        assert "turn" in answer["error"]["message"]
        assert second.ask("server.status")["result"]["state"] == "running"
        first.ask("server.cancel", {"id": "held"})
        assert first.final("held")["result"]["finish_reason"] == "abort"


def test_what_cannot_be_interrupted_is_answered_when_the_grace_is_over(start: Start) -> None:
    """The C call goes on; nobody else is let in meanwhile, and its own answer is not sent a second time."""
    daemon = start("--grace-ms", "50", rknn_scenario="run_us=3000000")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        before = daemon.open_files()
        wire.request("rknn.run", PICTURE, 1, timeout_ms=50)
        answer = wire.final(1)
        assert kind(answer) == "Timeout"
        assert daemon.calls("rknn_run", "leave") == 0, "it is still inside"
        assert wire.ask("server.status")["result"]["state"] == "aborting"
        assert "result" in wire.ask("rknn.run", PICTURE, 1), "the id is free again, and the call waits for its turn"
        assert wire.ask("server.status")["result"]["state"] == "idle"
        assert daemon.open_files() == before


def test_descriptors_stay_open_as_long_as_the_call_that_reads_them(start: Start) -> None:
    daemon = start("--grace-ms", "50", rknn_scenario="delay.rknn_inputs_set=2000")
    with daemon.connect() as wire:
        load_vision(daemon, wire)
        before = daemon.open_files()
        fd = os.memfd_create("tensor", os.MFD_ALLOW_SEALING)
        os.truncate(fd, 48)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        line = (
            b'{"jsonrpc":"2.0","id":1,"method":"rknn.inputs_set","fds":1,"timeout_ms":50,'
            b'"params":{"inputs":[{"index":0,"buf":{"fd":0,"dtype":"int8"}}]}}\n'
        )
        socket.send_fds(wire.socket, [line], [fd])
        os.close(fd)
        assert kind(wire.final(1)) == "Timeout"
        assert daemon.open_files() > before
        wait_state(wire, "idle")
        assert daemon.open_files() == before


def test_a_load_that_took_too_long_is_undone(start: Start) -> None:
    daemon = start("--grace-ms", "50", scenario="delay.rkllm_init=2000")
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.init", {"model_path": str(daemon.model)}, timeout_ms=50)
        assert kind(answer) == "Timeout"
        wait_state(wire, "idle")
        assert wire.ask("server.status")["result"]["models"] == []
        assert daemon.calls("rkllm_destroy") == 1


@pytest.mark.parametrize("member", ["timeout_ms", "first_token_timeout_ms", "wait_timeout_ms"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "100", True, 2**40, [1]])
def test_a_wrong_limit_is_refused(start_for_module: Start, member: str, value: Any) -> None:
    daemon = module_daemon(start_for_module)
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "Hello"}, **{member: value})
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"]["member"] == member


_shared: list[Daemon] = []


def module_daemon(start: Start) -> Daemon:
    """Return the daemon that the tests of this module share."""
    if not _shared or _shared[0].process.poll() is not None:
        _shared[:] = [start(scenario=QUICK)]
        _shared[0].load()
    return _shared[0]


# -- a stuck NPU -----------------------------------------------------------------------------------------------------


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
