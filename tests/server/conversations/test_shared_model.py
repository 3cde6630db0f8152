"""One client changes the model that all use: whoever loses something learns it, and the log says by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.wire_connection import Wire, kind

KEEP: dict[str, Any] = {"keep_history": 1}
ENDLESS: dict[str, Any] = {"text": "word", "repeat": 1_000_000_000, "pace_us": 300}
TEMPLATE = ["Be brief.", "<", ">"]


def turn(wire: Wire, prompt: str = "Hello", call_id: Any = "turn", **params: Any) -> dict[str, Any]:
    answer = wire.ask("rkllm.run", {"prompt_input": prompt, **params}, call_id)
    assert kind(answer) is None, answer
    return dict(answer["result"])


def pause(daemon: Daemon, wire: Wire) -> None:
    """Leave a paused run of this client in the KV cache; later runs answer with one word."""
    daemon.play(text="word", repeat=500, pace_us=20_000)  # it would last twenty seconds
    wire.request("rkllm.run_async", {"prompt_input": "my secret"}, "paused")
    wire.receive()
    wire.request("server.pause", {"id": "paused"}, "pause")
    assert wire.final("paused")["result"]["finish_reason"] == "pause"
    daemon.play(text="word")


def tokens(wire: Wire) -> int:
    return int(wire.ask("rkllm.get_kv_cache_size", None, "size")["result"]["cache_sizes"][0])


@pytest.fixture
def daemon(start: Start) -> Daemon:
    started = start(scenario="text=word", changing=True)
    started.load(max_new_tokens=0)
    return started


@pytest.fixture
def cache(daemon: Daemon) -> str:
    """Return a prompt cache's path."""
    path = daemon.directory / "cache"
    path.write_bytes(b"a prompt")
    return str(path)


def changes(cache: str, directory: Path) -> dict[str, tuple[str, list[Any]]]:
    adapter = directory / "adapter.rkllm"
    adapter.touch()
    return {
        "clear_kv_cache": ("rkllm.clear_kv_cache", [None, 1]),
        "set_chat_template": ("rkllm.set_chat_template", [None, *TEMPLATE]),
        "set_function_tools": ("rkllm.set_function_tools", [None, "", [{"name": "f"}], "tool"]),
        "load_prompt_cache": ("rkllm.load_prompt_cache", [None, cache]),
        "load_lora": ("rkllm.load_lora", [None, {"lora_adapter_path": str(adapter)}]),
        "release_prompt_cache": ("rkllm.release_prompt_cache", [None]),
    }


ENDING = ["clear_kv_cache", "set_chat_template", "set_function_tools", "load_prompt_cache"]
HARMLESS = ["load_lora", "release_prompt_cache"]


@pytest.mark.parametrize("state", ["conversation", "paused"])
@pytest.mark.parametrize("name", ENDING)
def test_what_another_client_ends_is_told_to_its_owner_once(daemon: Daemon, cache: str, name: str, state: str) -> None:
    method, params = changes(cache, daemon.directory)[name]
    with daemon.connect() as owner, daemon.connect() as other:
        if state == "paused":
            pause(daemon, owner)
        else:
            turn(owner, "my secret", **KEEP)
        assert kind(other.ask(method, params)) is None
        assert tokens(other) == 0, "no word of it is left"
        assert "history_reset" not in turn(other), "who changed it has lost nothing"
        assert turn(owner)["history_reset"] is True
        assert "history_reset" not in turn(owner), "it is told once"
    (logged,) = [event for event in daemon.events("model_changed") if event["method"] == method]
    assert logged["client"].startswith("client ")
    assert logged["history_lost_by"].startswith("client ")
    assert logged["history_lost_by"] != logged["client"]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_ends_nothing_is_only_logged(daemon: Daemon, cache: str, name: str) -> None:
    method, params = changes(cache, daemon.directory)[name]
    with daemon.connect() as owner, daemon.connect() as other:
        turn(owner, "my secret", **KEEP)
        before = tokens(owner)
        assert kind(other.ask(method, params)) is None
        assert tokens(owner) == before
        assert "history_reset" not in turn(owner, **KEEP)
    (logged,) = [event for event in daemon.events("model_changed") if event["method"] == method]
    assert "history_lost_by" not in logged


@pytest.mark.parametrize("name", ["clear_kv_cache", "set_chat_template", "set_function_tools"])
def test_who_changes_the_model_in_its_own_conversation_knows_it(daemon: Daemon, cache: str, name: str) -> None:
    method, params = changes(cache, daemon.directory)[name]
    with daemon.connect() as wire:
        turn(wire, **KEEP)
        before = tokens(wire)
        assert kind(wire.ask(method, params)) is None
        assert tokens(wire) == (0 if name == "clear_kv_cache" else before), "as in C"
        assert "history_reset" not in turn(wire, **KEEP)


def test_a_prompt_cache_takes_the_place_of_the_own_conversation_too(daemon: Daemon, cache: str) -> None:
    """The portable runtime puts the file in the place of what was there, which nobody would notice otherwise."""
    with daemon.connect() as wire:
        turn(wire, **KEEP)
        assert kind(wire.ask("rkllm.load_prompt_cache", [None, cache])) is None
        assert turn(wire, **KEEP)["history_reset"] is True


def test_ranges_of_a_paused_run_that_another_takes_out_are_told_and_it_goes_on(daemon: Daemon) -> None:
    with daemon.connect() as owner, daemon.connect() as other:
        pause(daemon, owner)
        assert kind(other.ask("rkllm.clear_kv_cache", [None, 1, [0], [2]])) is None
        status = other.ask("server.status", None, "status")["result"]
        assert [model["paused"] for model in status["models"]] == [True]
        assert turn(owner, "")["history_reset"] is True


def test_ranges_of_the_own_paused_run_are_no_loss(daemon: Daemon) -> None:
    with daemon.connect() as wire:
        pause(daemon, wire)
        assert kind(wire.ask("rkllm.clear_kv_cache", [None, 1, [0], [2]])) is None
        assert "history_reset" not in turn(wire, "")


def test_a_loss_is_told_by_the_next_run_that_has_a_final_result(daemon: Daemon) -> None:
    with daemon.connect() as owner, daemon.connect() as other:
        turn(owner, **KEEP)
        other.ask("rkllm.clear_kv_cache", [None, 1])
        daemon.play(run="error@0")
        assert kind(owner.ask("rkllm.run", {"prompt": "fails"})) == "RuntimeError"
        daemon.play(text="word")
        assert turn(owner)["history_reset"] is True
        assert "history_reset" not in turn(owner)


def test_two_who_have_lost_something_are_both_told(daemon: Daemon) -> None:
    with daemon.connect() as first, daemon.connect() as second, daemon.connect() as other:
        for wire in (first, second):
            turn(wire, **KEEP)
        other.ask("rkllm.clear_kv_cache", [None, 1])
        assert "history_reset" not in turn(other)
        assert turn(first)["history_reset"] is True
        assert turn(second)["history_reset"] is True


@pytest.mark.parametrize("name", ENDING)
def test_a_session_is_told_to_the_model_anew(start: Start, name: str) -> None:
    daemon = start()  # which answers with its prompt
    daemon.load(max_new_tokens=0)
    cache = daemon.directory / "cache"
    cache.write_bytes(b"a prompt")
    method, params = changes(str(cache), daemon.directory)[name]
    with daemon.connect() as wire, daemon.connect() as other:
        wire.ask("rkllm.run", {"prompt": "one"}, "first", session="kitchen")
        assert kind(other.ask(method, params)) is None
        result = wire.ask("rkllm.run", {"prompt": "two"}, "second", session="kitchen")["result"]
        assert result["session"] == {"name": "kitchen", "turns": 2, "replayed_turns": 1}
        assert "one" in result["text"]
        assert "history_reset" not in result, "nothing of it is lost"
        if name == "set_chat_template":
            assert "<one>" in result["text"], "with the template that holds now"
    (logged,) = [event for event in daemon.events("model_changed") if event["method"] == method]
    assert logged["history_lost_by"].startswith("session kitchen")


def test_the_encoders_output_of_another_ends_a_conversation(start: Start) -> None:
    daemon = start(scenario="text=word;embd=8")
    daemon.load(extend_param={"use_cross_attn": 1})
    arrays = {name: [1.0] * 8 for name in ("encoder_k_cache", "encoder_v_cache")}
    given = {**arrays, "encoder_mask": [1.0], "encoder_pos": [0], "num_tokens": 1}
    with daemon.connect() as owner, daemon.connect() as other:
        turn(owner, **KEEP)
        assert kind(other.ask("rkllm.set_cross_attn_params", [None, given])) is None
        assert turn(owner)["history_reset"] is True


@pytest.mark.parametrize("how", ["destroy", "replace"])
def test_a_conversation_that_went_with_its_model_is_told_on_the_next_one(daemon: Daemon, how: str) -> None:
    load = {"model_path": str(daemon.model)}
    with daemon.connect() as owner, daemon.connect() as other:
        turn(owner, **KEEP)
        if how == "destroy":
            assert kind(other.ask("rkllm.destroy")) is None
            assert kind(other.ask("rkllm.init", load)) is None
            (logged,) = [event for event in daemon.events("model_changed") if event["method"] == "rkllm.destroy"]
            assert logged["history_lost_by"].startswith("client ")
        else:
            assert kind(other.ask("rkllm.init", {**load, "replace": True})) is None
        assert daemon.events("model_loaded")[-1]["client"].startswith("client ")
        assert "history_reset" not in turn(other)
        assert turn(owner)["history_reset"] is True
        assert "history_reset" not in turn(owner)


@pytest.mark.parametrize("how", ["destroy", "replace"])
def test_who_unloads_its_own_conversation_knows_it(daemon: Daemon, how: str) -> None:
    load = {"model_path": str(daemon.model)}
    with daemon.connect() as wire:
        turn(wire, **KEEP)
        if how == "destroy":
            wire.ask("rkllm.destroy")
            wire.ask("rkllm.init", load)
        else:
            wire.ask("rkllm.init", {**load, "replace": True})
        assert "history_reset" not in turn(wire, **KEEP)


def test_an_abort_of_anothers_run_is_in_the_log_with_its_client(daemon: Daemon) -> None:
    daemon.play(**ENDLESS)
    with daemon.connect() as owner, daemon.connect() as other:
        owner.request("rkllm.run_async", {"prompt": "Hello"}, 1)
        owner.receive()
        assert other.ask("rkllm.abort")["result"]["aborted"] is True
        assert owner.final(1)["result"]["finish_reason"] == "abort"
    (logged,) = daemon.events("run_aborted")
    assert logged["client"].startswith("client ")
    assert logged["run_of"].startswith("client ")
    assert logged["client"] != logged["run_of"]


def test_a_job_whose_conversation_is_gone_says_so_in_its_result(daemon: Daemon) -> None:
    with daemon.connect() as owner, daemon.connect() as other:
        turn(owner, **KEEP)
        other.ask("rkllm.clear_kv_cache", [None, 1])
        owner.ask("server.watch", {"events": ["job"]}, "watch")
        job = owner.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}}, "submit")["result"]
        while (message := owner.receive()).get("method") != "server.event":
            pass
        assert message["params"]["status"] == "completed"
        result = owner.ask("server.job", {"job": job["job"]}, "job")["result"]["result"]
        assert result["history_reset"] is True
