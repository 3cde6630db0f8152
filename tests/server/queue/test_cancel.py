"""Cancelling: a waiting call is dropped, a running one stops when it can, and the call is always answered."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from tests.daemon import ENDLESS, Daemon, Start
from tests.wire_connection import Wire, kind, streamed

# For the long run: RKLLMD_RACES=20000.
RACES = int(os.environ.get("RKLLMD_RACES", "150"))


def endless(start: Start, scenario: str = ENDLESS, **options: Any) -> Daemon:
    """Start a daemon whose runs end by being cancelled only."""
    daemon = start(scenario=scenario, **options)
    daemon.load(max_new_tokens=0)
    return daemon


def run(wire: Wire, call_id: Any = 1, method: str = "rkllm.run_async", **params: Any) -> None:
    wire.request(method, {"prompt_input": "Hello", **params}, call_id)


def cancelled(wire: Wire, call_id: Any, own_id: Any = "cancel") -> bool:
    result = wire.ask("server.cancel", {"id": call_id}, own_id)["result"]
    assert result.keys() == {"cancelled"}
    return bool(result["cancelled"])


def test_a_waiting_call_is_dropped_at_once(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        run(wire, "running")
        assert wire.receive()["result"]["seq"] == 0
        run(wire, "waiting")
        wire.request("server.cancel", {"id": "waiting"}, "cancel")
        answers: dict[Any, Any] = {}
        while len(answers) < 2:
            message = wire.receive()
            if message["id"] != "running":
                answers[message["id"]] = message
        assert (kind(answers["waiting"]), answers["waiting"]["error"]["code"]) == ("Cancelled", -32003)
        assert answers["cancel"]["result"] == {"cancelled": True}
        assert wire.ask("server.queue", None, "queue")["result"]["length"] == 0
    daemon.wait_finished()
    assert daemon.calls("rkllm_run_async") == 1, "the waiting call never reached the runtime"


@pytest.mark.parametrize("call_id", [1, 0, -1, 2**64 - 1, "a", ""])
def test_a_stream_ends_with_its_final_result(start: Start, call_id: Any) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        run(wire, call_id)
        messages = [wire.receive()]
        wire.request("server.cancel", {"id": call_id}, "cancel")
        answers: list[Any] = []
        while "finish_reason" not in messages[-1]["result"]:
            message = wire.receive()
            (answers if message["id"] == "cancel" else messages).append(message)
        assert streamed(messages) == "ab" * (len(messages) - 1), "what was generated stays valid"
        assert messages[-1]["result"]["finish_reason"] == "abort"
        assert [answer["result"] for answer in answers] == [{"cancelled": True}]


def test_a_run_that_answers_at_the_end_is_answered_with_what_there_is(start: Start) -> None:
    daemon = endless(start, f"{ENDLESS};trace_callbacks=1")
    with daemon.connect() as wire:
        run(wire, 1, "rkllm.run")
        daemon.wait_enter("normal", 0)
        daemon.wait_for("a token", lambda: daemon.calls("normal", "callback") >= 3)
        assert cancelled(wire, 1)
        result = wire.final(1)["result"]
        assert result["finish_reason"] == "abort"
        assert len(result["text"]) >= 6
        assert set(result["text"]) == {"a", "b"}


def test_unknown_finished_and_foreign_ids_are_not_cancelled(start: Start) -> None:
    daemon = endless(start, changing=True)
    with daemon.connect() as wire, daemon.connect() as other:
        run(wire, 1)
        assert wire.receive()["result"]["seq"] == 0
        assert not cancelled(wire, "unknown")
        assert not cancelled(wire, "1"), "a string is another id than a number"
        assert not cancelled(other, 1), "an id belongs to its connection"
        assert other.ask("server.status")["result"]["state"] == "running"
        assert cancelled(wire, 1, 2)
        assert kind(wire.ask("rkllm.clear_kv_cache", None, "behind it")) is None
        assert not cancelled(wire, 1), "it has ended"


def test_a_call_may_be_cancelled_twice(start: Start) -> None:
    daemon = endless(start, "prefill_hold=1")
    with daemon.connect() as wire:
        run(wire, 1)
        daemon.wait_enter("rkllm_run_async")
        assert cancelled(wire, 1)
        assert cancelled(wire, 1)
        daemon.let_go()
        assert wire.final(1)["result"]["finish_reason"] == "abort"


@pytest.mark.parametrize("params", [{"id": 1}, [1]], ids=["named", "positional"])
def test_the_notification_cancels_and_is_not_answered(start: Start, params: Any) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        run(wire, 1)
        assert wire.receive()["result"]["seq"] == 0
        notification = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": params}
        wire.send(json.dumps(notification).encode() + b"\n")
        assert wire.final(1)["result"]["finish_reason"] == "abort"
        wire.request("server.queue", None, "next")
        assert wire.receive()["id"] == "next", "nothing came in between"


@pytest.mark.parametrize("params", [{"id": "unknown"}, {}, [], {"id": None}, {"id": []}, {"idd": 1}])
def test_a_notification_that_cancels_nothing_is_silent(start: Start, params: Any) -> None:
    with start().connect() as wire:
        wire.send(json.dumps({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": params}).encode() + b"\n")
        wire.request("server.queue", None, "next")
        assert wire.receive()["id"] == "next"


@pytest.mark.parametrize("params", [{}, [], {"id": None}, {"id": [1]}, {"id": True}, {"id": 1, "job": 2}, [1, 2]])
def test_wrong_parameters(start: Start, params: Any) -> None:
    with start().connect() as wire:
        assert kind(wire.ask("server.cancel", params)) == "InvalidParams"


def test_abort_works_from_another_connection(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire, daemon.connect() as other:
        run(wire, 1)
        messages = [wire.receive()]
        result = other.ask("rkllm.abort")["result"]
        assert result == {"success": True, "status": 0, "aborted": True}
        messages += wire.until_final(1)
        streamed(messages)
        assert messages[-1]["result"]["finish_reason"] == "abort"
        calls = daemon.calls("rkllm_abort")
        assert other.ask("rkllm.abort")["result"]["aborted"] is False, "nothing runs any more"
        assert daemon.calls("rkllm_abort") == calls, "without a run the runtime is not bothered"


def test_a_cancelled_load_is_answered_when_it_ends_and_leaves_no_model(start: Start) -> None:
    daemon = start(scenario="hold.rkllm_init=1")
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.init", {"model_path": str(daemon.model)}, 1)
        daemon.wait_enter("rkllm_init")
        assert cancelled(wire, 1)
        assert other.ask("server.status")["result"]["state"] == "aborting"
        daemon.let_go()
        assert kind(wire.final(1)) == "Cancelled"
        assert other.ask("server.status")["result"]["models"] == []
        assert kind(other.ask("rkllm.run", {"prompt_input": "Hello"})) == "ModelNotInitialized"
        assert daemon.calls("rkllm_destroy") == 1
        assert "result" in other.ask("rkllm.init", {"model_path": str(daemon.model)}), "the next load is welcome"


def test_prefill_that_can_not_be_interrupted_shows_as_aborting(start: Start) -> None:
    daemon = endless(start, "prefill_hold=1")
    with daemon.connect() as wire, daemon.connect() as other:
        run(wire, 1)
        daemon.wait_enter("rkllm_run_async")
        assert other.ask("server.status")["result"]["state"] == "running"
        assert cancelled(wire, 1)
        assert other.ask("server.status")["result"]["state"] == "aborting"
        daemon.let_go()
        assert wire.final(1)["result"]["finish_reason"] == "abort"
        assert other.ask("server.status")["result"]["state"] == "idle"


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
@pytest.mark.parametrize("variant", ["abort_lag=3", "abort_lag=200", "finish_after_abort=0"])
def test_variants_of_the_runtime(start: Start, variant: str, method: str) -> None:
    """Tokens may still come after an abort, and FINISH may not."""
    daemon = endless(start, f"{ENDLESS};{variant}", changing=True)
    with daemon.connect() as wire:
        run(wire, 1, method)
        daemon.wait_enter(method.replace(".", "_"))
        wire.request("server.cancel", {"id": 1}, "cancel")
        messages = wire.until_final(1)
        if method == "rkllm.run_async":
            streamed(messages)
        assert messages[-1]["result"]["finish_reason"] == "abort"
        daemon.play(text="quantum")
        run(wire, 2)
        assert streamed(wire.until_final(2)) == "quantum", "the next run is not disturbed"


@pytest.mark.parametrize("method", ["server.cancel", "rkllm.abort"])
def test_a_cancel_that_races_with_the_end(start: Start, method: str) -> None:
    """Whoever wins: one final result for each id, after all partials, and an answer to the cancel."""
    daemon = start(scenario="text=abcdefgh")  # four tokens and the end
    daemon.load()
    choice = random.Random(1)
    reasons = set()
    with daemon.connect() as wire, daemon.connect() as other:
        for number in range(RACES):
            run(wire, number)
            messages = [wire.receive() for _ in range(choice.randrange(5))]
            if method == "server.cancel":
                wire.request(method, {"id": number}, "cancel")
            else:
                assert other.ask(method)["result"]["success"] is True
            answers: list[Any] = []
            while not (messages and "finish_reason" in messages[-1]["result"]):
                message = wire.receive()
                (answers if message["id"] == "cancel" else messages).append(message)
            if method == "server.cancel" and not answers:
                answers.append(wire.receive())
                assert answers[0]["id"] == "cancel", "the cancel is answered, and nothing after the final result"
            text = streamed(messages)
            reasons.add(messages[-1]["result"]["finish_reason"])
            assert "abcdefgh".startswith(text)
            if messages[-1]["result"]["finish_reason"] == "stop":
                assert text == "abcdefgh"
        wire.request("server.queue", None, "last")
        assert wire.receive()["id"] == "last", "nothing was answered twice"
    assert reasons <= {"stop", "abort"}


def test_a_cancel_that_races_with_the_end_of_a_load(start: Start) -> None:
    """Either the load was cancelled and there is no model, or it was not and there is."""
    daemon = start()
    choice = random.Random(2)
    with daemon.connect() as wire:
        for number in range(RACES // 3):
            wire.request("rkllm.init", {"model_path": str(daemon.model)}, number)
            for _ in range(choice.randrange(12)):  # so that the cancel comes at different moments
                wire.send(b'{"jsonrpc":"2.0","method":"server.queue"}\n')
            wire.request("server.cancel", {"id": number}, "cancel")
            answers: dict[Any, Any] = {}
            while len(answers) < 2:
                message = wire.receive()
                answers[message["id"]] = message
            models = wire.ask("server.status", None, "status")["result"]["models"]
            if "error" in answers[number]:
                assert kind(answers[number]) == "Cancelled"
                assert models == []
            else:
                assert [model["handle"] for model in models] == [answers[number]["result"]["handle"]]
                assert "result" in wire.ask("rkllm.destroy", None, "destroy")
