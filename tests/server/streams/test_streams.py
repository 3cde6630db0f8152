"""Streams: three shapes, valid text whatever the runtime's callbacks are like, order, and exactly one end."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.wire_connection import Wire, kind, streamed

HELLO = {"prompt_input": "Hello"}
SENTENCE = "Grüße, 世界 🎉!"


def ready(start: Start, *arguments: str, **options: Any) -> Daemon:
    """Start a daemon with a model loaded."""
    daemon = start(*arguments, **options)
    daemon.load()
    return daemon


def stream(wire: Wire, call_id: Any = 1, **members: Any) -> list[dict[str, Any]]:
    wire.request("rkllm.run_async", HELLO, call_id, **members)
    return wire.until_final(call_id)


# -- shapes


@pytest.mark.parametrize("member", [{}, {"stream": "partial"}], ids=["default", "asked for"])
def test_partial_results_and_then_the_final_one(start: Start, member: dict[str, str]) -> None:
    daemon = ready(start, scenario="text=abcdef")
    with daemon.connect() as wire:
        messages = stream(wire, **member)
    assert [message["result"] for message in messages[:-1]] == [
        {"text": text, "token_id": 100 + number, "_callback_state": 0, "seq": number}
        for number, text in enumerate(["ab", "cd", "ef"])
    ]
    final = messages[-1]["result"]
    assert final.pop("perf") == {
        "prefill_time_ms": 10.0,
        "prefill_tokens": 5,
        "generate_time_ms": 20.0,
        "generate_tokens": 3,
        "memory_usage_mb": 12.5,
    }
    assert final == {"text": "", "token_id": 0, "_callback_state": 2, "seq": 3, "finish_reason": "stop"}


@pytest.mark.parametrize(("method", "shape"), [("rkllm.run", None), ("rkllm.run_async", "final")])
def test_one_answer_with_the_whole_text(start: Start, method: str, shape: str | None) -> None:
    daemon = ready(start, scenario="text=abcdef")
    with daemon.connect() as wire:
        wire.request(method, HELLO, 1, **({"stream": shape} if shape else {}))
        message = wire.receive()
        wire.request("server.queue", None, "next")
        assert wire.receive()["id"] == "next", "nothing else was sent"
    result = message["result"]
    assert (message["id"], result["text"], result["_callback_state"]) == (1, "abcdef", 2)
    assert result["finish_reason"] == "stop"
    assert "seq" not in result


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_notifications_and_then_one_response(start: Start, method: str) -> None:
    daemon = ready(start, scenario="text=abcdef")
    with daemon.connect() as wire:
        wire.request(method, HELLO, "mine", stream="notify")
        messages = [wire.receive() for _ in range(4)]
    for number, (message, text) in enumerate(zip(messages, ["ab", "cd", "ef"], strict=False)):
        assert message == {
            "jsonrpc": "2.0",
            "method": "rkllm.token",
            "params": {"id": "mine", "seq": number, "text": text, "token_id": 100 + number, "_callback_state": 0},
        }
    assert messages[3]["id"] == "mine"
    assert messages[3]["result"]["_callback_state"] == 2


def test_run_streams_when_asked(start: Start) -> None:
    daemon = ready(start, scenario="text=abcdef")
    with daemon.connect() as wire:
        wire.request("rkllm.run", HELLO, 1, stream="partial")
        assert streamed(wire.until_final(1)) == "abcdef"


@pytest.mark.parametrize("shape", ["Partial", "", None, True, 1, ["partial"], {}, "x" * 10_000])
def test_a_wrong_shape_is_refused_before_anything_runs(start_one: Daemon, shape: Any) -> None:
    daemon = start_one
    runs = daemon.calls("rkllm_run_async")
    with daemon.connect() as wire:
        message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rkllm.run_async", "params": HELLO, "stream": shape})
        wire.send(message.encode() + b"\n")
        if shape is None:
            assert streamed(wire.until_final(1)), "null is as good as leaving it out"
            return
        error = wire.final(1)
        assert (kind(error), error["error"]["data"]["limit"]) == ("InvalidParams", ["partial", "final", "notify"])
    assert daemon.calls("rkllm_run_async") == runs


@pytest.fixture(scope="module")
def start_one(start_for_module: Start) -> Daemon:
    return ready(start_for_module, scenario="text=abcdef")


def test_a_notification_runs_and_is_never_answered(start_one: Daemon) -> None:
    daemon = start_one
    runs = daemon.calls("rkllm_run_async", "finished")
    with daemon.connect() as wire:
        for shape in ({}, {"stream": "notify"}, {"stream": "final"}, {"stream": "wrong"}):
            wire.send(json.dumps({"jsonrpc": "2.0", "method": "rkllm.run_async", "params": HELLO, **shape}).encode())
            wire.send(b"\n")
        wire.request("rkllm.run", HELLO, "last")
        assert wire.receive()["id"] == "last", "nothing came before"
    assert daemon.calls("rkllm_run_async", "finished") == runs + 3, "they were executed, the wrong one was not"


def test_a_batch_sends_partials_at_once_and_its_array_at_the_end(start_one: Daemon) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run_async", "params": HELLO},
        {"jsonrpc": "2.0", "id": 2, "method": "server.queue"},
        {"jsonrpc": "2.0", "method": "rkllm.run_async", "params": HELLO},
        {"jsonrpc": "2.0", "id": 3, "method": "rkllm.run_async", "params": HELLO},
        {"jsonrpc": "2.0", "id": 4, "method": "rkllm.nothing"},
    ]
    with start_one.connect() as wire:
        wire.send(json.dumps(batch).encode() + b"\n")
        partials = []
        while isinstance(message := wire.receive(), dict):
            partials.append(message)
    answers = {answer["id"]: answer for answer in message}
    assert answers.keys() == {1, 2, 3, 4}
    assert len(message) == 4
    assert kind(answers[4]) == "MethodNotFound"
    for number in (1, 3):
        own = [partial for partial in partials if partial["id"] == number]
        assert streamed([*own, answers[number]]) == "abcdef"


# -- order


def test_many_streams_on_many_connections_keep_their_order(start: Start) -> None:
    """Without a scenario's text each run echoes its own prompt, so that a mix-up would show."""
    daemon = ready(start, "--max-queue", "1000")
    choice = random.Random(1)
    prompts = {
        (client, number): f"{client}-{number}-" + "x" * choice.randrange(60)
        for client in range(10)
        for number in range(12)
    }
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in range(10)]
        for (client, number), prompt in prompts.items():
            wires[client].request("rkllm.run_async", {"prompt_input": prompt, "role": "user"}, number)
        for client, wire in enumerate(wires):
            messages: dict[int, list[Any]] = {number: [] for number in range(12)}
            ended: list[int] = []
            while len(ended) < 12:
                message = wire.receive()
                assert message["id"] not in ended, "nothing comes after the final result"
                messages[message["id"]].append(message)
                if "finish_reason" in message["result"]:
                    ended.append(message["id"])
            assert ended == list(range(12)), "first come, first served"
            for number in range(12):
                assert streamed(messages[number]).endswith(prompts[client, number])


def test_init_run_destroy_init_run_in_one_go(start: Start) -> None:
    daemon = start(scenario="text=abcdef")
    load = ("rkllm.init", {"model_path": str(daemon.model)})
    calls = [load, ("rkllm.run_async", HELLO), ("rkllm.destroy", []), load, ("rkllm.run_async", [None, HELLO])]
    with daemon.connect() as wire:
        for number, (method, params) in enumerate(calls):
            wire.request(method, params, number)
        wire.half_close()
        found: dict[int, list[Any]] = {}
        for message in wire.receive_all():
            found.setdefault(message["id"], []).append(message)
    assert [kind(found[number][-1]) for number in range(5)] == [None] * 5
    assert streamed(found[1]) == streamed(found[4]) == "abcdef"
    handles = [found[number][-1]["result"]["handle"] for number in (0, 3)]
    assert handles[0] != handles[1], "a handle is never used twice"


def test_other_requests_are_answered_between_the_tokens(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=300")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", HELLO, "stream")
        messages = [wire.receive()]
        number = 0
        while number < 100 or len(messages) <= 10:  # the stream goes on meanwhile
            wire.request("server.status", None, number)
            while (message := wire.receive())["id"] == "stream":
                messages.append(message)
            assert message["id"] == number
            number += 1
        wire.request("server.cancel", {"id": "stream"}, "cancel")
        messages += wire.until_final("stream")
    streamed(messages)


# -- the runtime's manners


@pytest.mark.parametrize("thread", ["caller", "own"])
@pytest.mark.parametrize("version", ["1.2.1", "1.2.2", "1.2.3", "1.3.0", "1.3.1"])
def test_every_version_and_thread(start: Start, version: str, thread: str) -> None:
    daemon = ready(start, version=version, scenario=f"text={SENTENCE};thread={thread}")
    with daemon.connect() as wire:
        assert streamed(stream(wire)) == SENTENCE
        assert wire.ask("rkllm.run", HELLO)["result"]["text"] == SENTENCE
    asynchronous = 0 if version == "1.2.1" else 1
    assert daemon.calls("rkllm_run_async") == asynchronous, "rkllm_run_async hung below 1.2.2"
    assert daemon.calls("rkllm_run") == 2 - asynchronous


@pytest.mark.parametrize(
    "manners",
    [
        "finish_text=null",
        "finish_text=empty",
        "null_text_at=1",
        "empty_text_at=0",
        "utf8=raw;tokens=1",
        "utf8=raw;tokens=3",
        "utf8=waiting;tokens=1;waiting_text=null",
        "utf8=waiting;tokens=1;waiting_text=empty",
        "tokens=words",
        "log=stdout;print.stdout=chatter;print_at=every",
    ],
)
def test_whatever_its_manners_the_text_is_whole(start: Start, manners: str) -> None:
    daemon = ready(start, scenario=f"text={SENTENCE};{manners}")
    with daemon.connect() as wire:
        messages = stream(wire)
        assert streamed(messages) == SENTENCE
        for message in messages:
            result = message["result"]
            assert result["_callback_state"] != 1 or result["text"] == "", "state 1 carries no text"
        assert wire.ask("rkllm.run", HELLO)["result"]["text"] == SENTENCE


@pytest.mark.parametrize("utf8", ["raw", "waiting"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\\xffb", "a\ufffdb"),
        ("a\\xc3", "a\ufffd"),
        ("\\xe4\\xb8", "\ufffd"),
        ("a\\x80\\x80b", "a\ufffd\ufffdb"),
        ("\\xf0\\x9f\\x8e\\x89", "🎉"),
    ],
)
def test_bytes_that_never_become_a_character(start: Start, text: str, shown: str, utf8: str) -> None:
    daemon = ready(start, scenario=f"text={text};tokens=1;utf8={utf8}")
    with daemon.connect() as wire:
        assert streamed(stream(wire)) == shown
        assert wire.ask("rkllm.run", HELLO)["result"]["text"] == shown


def test_an_empty_answer(start: Start) -> None:
    daemon = ready(start, scenario="text=")
    with daemon.connect() as wire:
        messages = stream(wire)
    assert streamed(messages) == ""
    assert messages[-1]["result"]["finish_reason"] == "stop"


def test_the_limit_of_tokens_is_the_reason(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=100")
    daemon.load(max_new_tokens=3)
    with daemon.connect() as wire:
        messages = stream(wire)
    assert streamed(messages) == "ababab"
    assert messages[-1]["result"]["finish_reason"] == "length"


# -- failures


@pytest.mark.parametrize("version", ["1.2.1", "1.3.0"])
@pytest.mark.parametrize("at", [0, 2])
def test_an_error_at_a_token_ends_the_stream(start: Start, version: str, at: int) -> None:
    scenario = f"text=abcdef;run=error@{at};run_nth=1;print.stderr=E rkllm: it broke;print_at={at}"
    daemon = ready(start, version=version, scenario=scenario)
    with daemon.connect() as wire:
        *partials, error = stream(wire)
        assert [partial["result"]["text"] for partial in partials] == ["ab", "cd"][:at]
        data = error["error"]["data"]
        assert (kind(error), error["error"]["code"]) == ("RuntimeError", -32002)
        assert data["function"] == ("rkllm_run" if version == "1.2.1" else "rkllm_run_async")
        assert "E rkllm: it broke" in data["log"], "with the runtime's own lines"
        assert "it broke" in error["error"]["message"]
        assert streamed(stream(wire, 2)) == "abcdef", "the next run is not disturbed"


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_a_status_other_than_0_is_an_error(start: Start, method: str) -> None:
    function = method.replace(".", "_")
    daemon = ready(start, scenario=f"return.{function}=-7")
    with daemon.connect() as wire:
        wire.request(method, HELLO, 1)
        error = wire.final(1)
    assert kind(error) == "RuntimeError"
    assert (error["error"]["data"]["function"], error["error"]["data"]["status"]) == (function, -7)


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_a_run_that_fails_without_a_callback(start: Start, method: str) -> None:
    daemon = ready(start, scenario="text=abcdef;run=fail@1;run_nth=1")
    with daemon.connect() as wire:
        wire.request(method, HELLO, 1)
        assert kind(wire.final(1)) == "RuntimeError"
        assert streamed(stream(wire, 2)) == "abcdef"


def test_what_the_runtime_prints_is_logged_and_belongs_to_its_call(start: Start) -> None:
    scenario = "print.stdout=W RKNN: on stdout;print.stderr=E rkllm: on stderr;print_at=rkllm_run"
    daemon = ready(start, scenario=f"{scenario};return.rkllm_run=-1;log=none")
    with daemon.connect() as wire:
        data = wire.ask("rkllm.run", HELLO)["error"]["data"]
    assert sorted(data["log"]) == ["E rkllm: on stderr", "W RKNN: on stdout"]
    events = {event["line"]: event["level"] for event in daemon.wait_event("runtime", 2)}
    assert events == {"W RKNN: on stdout": "warning", "E rkllm: on stderr": "error"}
