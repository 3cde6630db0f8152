"""Pause and resume, whose words are in the KV cache, and how many (protocol, sections 3 and 4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon import Start
from tests.wire_connection import Wire, kind, streamed

KEEP = {"keep_history": 1}


def turn(wire: Wire, prompt: str, **params: Any) -> dict[str, Any]:
    answer = wire.ask("rkllm.run", {"prompt_input": prompt, **params})
    assert kind(answer) is None, answer
    return dict(answer["result"])


def tokens(wire: Wire) -> int:
    sizes = wire.ask("rkllm.get_kv_cache_size", None, "size")["result"]["cache_sizes"]
    assert len(sizes) == 1
    return int(sizes[0])


@pytest.mark.parametrize("finish", [0, 1])
@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_a_paused_run_is_resumed_by_the_next(start: Start, method: str, finish: int) -> None:
    whole = {"text": "abcdefgh", "repeat": 500, "finish_after_pause": finish}
    daemon = start(scenario={**whole, "pace_us": 20_000}, changing=True)  # it would last 40 seconds
    daemon.load(max_new_tokens=3000)
    with daemon.connect() as wire:
        wire.request(method, {"prompt_input": "Hello"}, 1, stream="partial")
        first = [wire.receive()]
        wire.request("server.pause", {"id": 1}, "pause")
        paused = None
        while "finish_reason" not in first[-1]["result"]:
            message = wire.receive()
            if message["id"] == "pause":
                paused = message["result"]
            else:
                first.append(message)
        assert paused == {"paused": True}
        assert first[-1]["result"]["finish_reason"] == "pause"
        status = wire.ask("server.status", None, "status")["result"]
        assert [model["paused"] for model in status["models"]] == [True]
        assert tokens(wire) == 5 + len(first) - 1, "the KV cache stays: the prompt's and the generated tokens"
        daemon.play(**whole)
        wire.request(method, {"prompt_input": ""}, 2, stream="partial")
        second = wire.until_final(2)
        assert second[-1]["result"]["finish_reason"] == "stop"
        assert streamed(first) + streamed(second) == "abcdefgh" * 500, "it goes on where it was"


@pytest.mark.parametrize(("params", "members"), [(KEEP, {}), ({}, {"session": "kitchen"})], ids=["history", "session"])
def test_a_run_that_builds_a_history_cannot_be_paused(
    start: Start, params: dict[str, Any], members: dict[str, Any]
) -> None:
    """The manual allows it in single-turn mode only; nobody knows what the runtime makes of it otherwise."""
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=300")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hello", **params}, 1, **members)
        wire.receive()
        refused = wire.ask("server.pause", {"id": 1}, "pause")["result"]
        assert refused["paused"] is False
        assert "keep_history" in refused["reason"]
        wire.request("server.cancel", {"id": 1}, "cancel")
        assert wire.final(1)["result"]["finish_reason"] == "abort"


def test_only_a_running_call_of_the_same_connection_can_be_paused(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=300")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        assert wire.receive()["result"]["seq"] == 0
        wire.request("rkllm.run_async", {"prompt_input": "waiting"}, 2)
        assert other.ask("server.pause", {"id": 1})["result"] == {"paused": False}
        assert wire.ask("server.pause", {"id": 2}, "waiting")["result"] == {"paused": False}
        assert wire.ask("server.pause", {"id": 99}, "unknown")["result"] == {"paused": False}
        assert other.ask("server.status")["result"]["state"] == "running"


def test_another_clients_run_does_not_resume_a_pause(start: Start) -> None:
    daemon = start(scenario="text=secret;repeat=1000000000;pace_us=300", changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as owner, daemon.connect() as other:
        owner.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        assert owner.receive()["result"]["seq"] == 0
        owner.request("server.pause", {"id": 1}, "pause")
        assert owner.final(1)["result"]["finish_reason"] == "pause"
        daemon.play(text="other")
        result = turn(other, "Hello")
        assert (result["text"], result["history_reset"]) == ("other", True)
        # Nor does the owner's own next run, and its result says so, once.
        result = turn(owner, "go on")
        assert (result["text"], result["history_reset"]) == ("other", True)
        assert "history_reset" not in turn(owner, "Hello")


def test_a_history_grows_by_the_turns_of_its_client(start: Start) -> None:
    daemon = start(scenario="text=abcdef")  # three tokens
    daemon.load()
    with daemon.connect() as wire:
        for number in range(1, 4):
            result = turn(wire, "Hello", **KEEP)
            assert "history_reset" not in result
            assert tokens(wire) == number * (5 + 3)


def test_another_clients_turn_clears_the_history_and_says_so(start: Start) -> None:
    daemon = start(scenario="text=abcdef")
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        turn(first, "my secret", **KEEP)
        assert turn(second, "Hello", **KEEP)["history_reset"] is True
        assert tokens(second) == 5 + 3, "nothing of the first client's words is left"
        assert "history_reset" not in turn(second, "Hello", **KEEP), "it is the second's now"
        assert turn(first, "Hello", **KEEP)["history_reset"] is True, "the first is told that its own is gone"
        assert tokens(first) == 5 + 3
    clears = daemon.calls("rkllm_clear_kv_cache")
    assert clears == 2


def test_a_stateless_turn_of_another_client_clears_a_history_too(start: Start) -> None:
    daemon = start(scenario="text=abcdef")
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        turn(first, "my secret", **KEEP)
        assert turn(second, "Hello")["history_reset"] is True
        assert turn(first, "Hello", **KEEP)["history_reset"] is True


def test_stateless_turns_of_several_clients_clear_nothing(start: Start) -> None:
    daemon = start(scenario="text=abcdef")
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        for wire in (first, second, first, second):
            assert "history_reset" not in turn(wire, "Hello")
    assert daemon.calls("rkllm_clear_kv_cache") == 0


def test_the_system_prompt_outlives_a_reset(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        system = "Be kind."
        assert kind(first.ask("rkllm.set_chat_template", [None, system, "<", ">"])) is None
        turn(first, "my secret", **KEEP)
        result = turn(second, "Hello", **KEEP)
        assert result["history_reset"] is True
        assert result["text"] == "[system] Be kind. [user] <Hello>", "the simulator's echo shows what is in force"
        # Half of the text's length, rounded up, was generated: a token is two bytes.
        assert tokens(second) == len(system) + len("Hello") + len(result["text"]) // 2


def test_the_history_of_a_client_that_left_is_not_the_next_ones(start: Start) -> None:
    daemon = start("--log-level", "3", scenario="text=abcdef")
    daemon.load()
    gone = len(daemon.wait_event("client_gone"))
    with daemon.connect() as first:
        turn(first, "my secret", **KEEP)
    daemon.wait_event("client_gone", gone + 1)
    with daemon.connect() as second:
        assert turn(second, "Hello", **KEEP)["history_reset"] is True
        assert tokens(second) == 5 + 3


def test_a_cleared_history_is_nobodys(start: Start) -> None:
    daemon = start(scenario="text=abcdef")
    daemon.load()
    with daemon.connect() as first, daemon.connect() as second:
        turn(first, "my secret", **KEEP)
        assert kind(first.ask("rkllm.clear_kv_cache", [None, 1])) is None
        assert tokens(first) == 0
        assert "history_reset" not in turn(second, "Hello"), "there was nothing left to clear"


def test_the_size_during_a_run_is_that_before_it(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=300", changing=True)
    daemon.play(text="abcdef")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire, daemon.connect() as other:
        turn(wire, "Hello", **KEEP)
        daemon.play(text="ab", repeat=1_000_000_000, pace_us=300)
        wire.request("rkllm.run_async", {"prompt_input": "Hello", **KEEP}, 1)
        assert wire.receive()["result"]["seq"] == 0
        result = other.ask("rkllm.get_kv_cache_size")["result"]
        assert result == {"success": True, "cache_sizes": [8], "running": True}
