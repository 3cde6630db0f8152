"""SIGTERM: everything in flight is answered exactly once, the models are freed, the socket is gone, the status is 0."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rkllmd.daemon import _ABORT_SECONDS, _ALL_SECONDS, _FLUSH_SECONDS
from rkllmd.keeper.ties import CANNOT_START
from tests.daemon import ENDLESS, Daemon, Start
from tests.wire_connection import Wire, kind


def terminate(daemon: Daemon, number: int = signal.SIGTERM) -> None:
    """End the daemon and check what every end keeps; a call that is held in C is let go when it has begun to leave."""
    daemon.process.send_signal(number)
    daemon.wait_event("stopping")
    daemon.let_go()
    leaves(daemon)


def leaves(daemon: Daemon) -> None:
    """Check what holds at every end of a daemon that was asked to leave."""
    assert daemon.wait_end() == 0, "the exit status is 0"
    assert not Path(daemon.path).exists(), "the socket is gone"
    assert not Path(f"{daemon.path}.lock").exists(), "and its lock, so that any user's daemon can have the path"


def final_answers(messages: list[Any]) -> dict[Any, dict[str, Any]]:
    """Return the final messages by their ids, after checking that no request has two."""
    finals = [message for message in messages if message.get("result", {}).get("_callback_state") not in (0, 1)]
    assert set(Counter(message["id"] for message in finals).values()) <= {1}, "each request is answered once"
    return {message["id"]: message for message in finals}


def models_are_destroyed(daemon: Daemon) -> bool:
    """Return whether each model that was loaded was destroyed."""
    loaded = sum(1 for line in daemon.trace() if line[2:] == ["leave", "rkllm_init", "0"])
    return loaded == daemon.calls("rkllm_destroy")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle(start: Start, number: int) -> None:
    daemon = start(cold=True)
    daemon.load()
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None
        terminate(daemon, number)
        assert wire.receive() is None, "an idle client is closed without a word"
    assert models_are_destroyed(daemon)


def test_what_it_waits_for_is_less_than_the_ten_seconds_it_promises() -> None:
    """Not measured: how long an overloaded machine takes for it says nothing about the daemon."""
    assert _ABORT_SECONDS + _FLUSH_SECONDS < _ALL_SECONDS < 10


def test_at_once_after_the_start(start: Start) -> None:
    """Whoever reads that the daemon serves may tell it to leave: its handlers are in place by then."""
    terminate(start(cold=True))


def test_during_a_load(start: Start) -> None:
    daemon = start(scenario="hold.rkllm_init=1")
    with daemon.connect() as loader, daemon.connect() as waiting:
        loader.request("rkllm.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rkllm_init")
        waiting.request("rkllm.run", {"prompt_input": "Hello"}, 2)
        assert waiting.ask("server.queue", None, 3)["result"]["length"] == 1
        terminate(daemon)
        assert final_answers(loader.receive_all()).keys() == {1}, "the load is answered"
        answers = final_answers(waiting.receive_all())
    assert {number: kind(answer) for number, answer in answers.items()} == {2: "ShuttingDown"}
    assert models_are_destroyed(daemon)


@pytest.mark.parametrize("scenario", ["prefill_ms=600000;prefill_abort=1", "prefill_hold=1"], ids=["abort", "no abort"])
def test_during_prefill(start: Start, scenario: str) -> None:
    daemon = start(scenario=scenario)
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        daemon.wait_enter("rkllm_run_async")
        terminate(daemon)
        answers = final_answers(wire.receive_all())
    assert answers.keys() == {1}
    assert answers[1]["result"]["finish_reason"] == "abort"
    assert models_are_destroyed(daemon)


def test_models_that_do_not_unload_are_told_of(start: Start) -> None:
    daemon = start("--max-models", "2", scenario="fault.rkllm_destroy=fail")
    daemon.load()
    daemon.load()
    terminate(daemon)
    assert models_are_destroyed(daemon), "each was tried"
    events = daemon.events("model_not_unloaded")
    assert [event["error"]["data"]["function"] for event in events] == ["rkllm_destroy"] * 2


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_during_decode_with_calls_waiting(start: Start, method: str) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as running, daemon.connect() as waiting:
        running.request(method, {"prompt_input": "Hello"}, 1)
        daemon.wait_enter(method.replace(".", "_"))
        for number in range(3):
            waiting.request("rkllm.run_async", {"prompt_input": "Hello"}, number)
        running.request("rkllm.run", {"prompt_input": "Hello"}, 2)
        waiting.ask("server.queue", None, "queue")
        assert running.ask("server.queue", None, "queue")["result"]["length"] == 4
        terminate(daemon)
        answers = final_answers(running.receive_all())
        others = final_answers(waiting.receive_all())
    assert answers[1]["result"]["finish_reason"] == "abort", "what was generated stays valid"
    assert kind(answers[2]) == "ShuttingDown"
    assert {number: kind(answer) for number, answer in others.items()} == dict.fromkeys(range(3), "ShuttingDown")
    assert daemon.calls("rkllm_run") + daemon.calls("rkllm_run_async") == 1, "none of the waiting calls was begun"
    assert models_are_destroyed(daemon)


def test_with_a_half_closed_client(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        wire.request("rkllm.run", {"prompt_input": "Hello"}, 2)
        wire.half_close()
        assert wire.receive()["id"] == 1
        terminate(daemon)
        answers = final_answers(wire.receive_all())
    assert answers[1]["result"]["finish_reason"] == "abort"
    assert kind(answers[2]) == "ShuttingDown"


def test_new_calls_are_refused_while_the_daemon_leaves(start: Start) -> None:
    daemon = start(scenario="prefill_hold=1")
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as other:
        other.ask("server.queue")
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        daemon.wait_enter("rkllm_run_async")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_event("stopping")
        for asking in (wire, other):
            error = asking.ask("rkllm.run", {"prompt_input": "late"}, "late")
            assert (kind(error), error["error"]["code"]) == ("ShuttingDown", -32010)
        daemon.let_go()
        result = final_answers(wire.receive_all())[1]["result"]
        assert (result["finish_reason"], result["shutting_down"]) == ("abort", True)
    leaves(daemon)


def test_everything_that_was_sent_before_is_answered(start: Start) -> None:
    daemon = start()
    line = '{"jsonrpc":"2.0","id":%d,"method":"server.queue"}\n'
    with daemon.connect() as wire:
        wire.send("".join(line % number for number in range(2500)).encode())
        daemon.process.send_signal(signal.SIGTERM)
        answers = final_answers(wire.receive_all())
    assert answers.keys() == set(range(2500))
    assert {kind(answer) for answer in answers.values()} <= {None, "ShuttingDown"}
    leaves(daemon)


def test_a_line_that_has_come_in_part_is_not_answered(start: Start) -> None:
    daemon = start()
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None
        wire.send(b'{"jsonrpc":"2.0","id":1,"meth')
        terminate(daemon)
        assert wire.receive() is None


@pytest.mark.parametrize("function", ["rkllm_run", "rkllm_run_async"])
def test_with_a_call_that_never_returns(start: Start, function: str) -> None:
    daemon = start(scenario="run=hang@3", cold=True)
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as waiting:
        wire.request(function.replace("_", ".", 1), {"prompt_input": "Hello"}, 1)
        daemon.wait_enter(function)
        waiting.request("rkllm.run", {"prompt_input": "Hello"}, 2)
        assert waiting.ask("server.queue", None, "queue")["result"]["length"] == 1
        terminate(daemon)
        answers = final_answers(wire.receive_all()), final_answers(waiting.receive_all())
    assert [{number: kind(answer) for number, answer in found.items()} for found in answers] == [
        {1: "ShuttingDown"},
        {2: "ShuttingDown"},
    ]
    assert [event["method"] for event in daemon.events("npu_call_does_not_return")] == [function.replace("_", ".", 1)]


def test_a_second_signal_leaves_at_once(start: Start) -> None:
    daemon = start(scenario="run=hang", cold=True)
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt_input": "Hello"}, 1)
        daemon.wait_enter("rkllm_run")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_event("stopping")
        assert daemon.stop(signal.SIGTERM) == 1, "not the status of a shutdown in order"
        assert wire.receive_all() == []
    assert len(daemon.events("second_signal")) == 1
    assert not Path(daemon.path).exists()
    assert not Path(f"{daemon.path}.lock").exists()


def test_a_second_daemon_fails_and_does_not_disturb_the_first(start: Start, tmp_path: Path) -> None:
    first = start()
    first.load()
    with first.connect() as wire:
        (tmp_path / "second").mkdir()
        second = Daemon(tmp_path / "second", "--socket", first.path, cold=True)
        assert second.wait_end() == CANNOT_START
        second.stop()
        assert second.log().splitlines() == [
            f"rkllmd: Another rkllmd (pid {first.process.pid}) serves {first.path}: "
            f"stop it with 'rkllmd stop --socket {first.path}', or choose another --socket."
        ]
        assert "result" in wire.ask("rkllm.run", {"prompt_input": "Hello"}), "a connection lives on"
    with Wire(first.path) as wire:
        assert "result" in wire.ask("rkllm.run", {"prompt_input": "Hello"}), "new ones are served by the first"


def test_a_daemon_starts_on_the_socket_that_a_killed_one_has_left(start: Start) -> None:
    first = start(scenario=ENDLESS)
    first.load(max_new_tokens=0)
    with first.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"})
        assert wire.receive()["result"]["seq"] == 0
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert Path(first.path).is_socket(), "nobody was there to remove it"
    second = start("--socket", first.path, cold=True)
    with Wire(first.path) as wire:
        assert wire.ask("rkllm.init", {"model_path": str(second.model)})["result"]["success"] is True
    assert second.stop() == 0
    assert not Path(first.path).exists()
