"""The member "session": conversations of one model that know nothing of each other (protocol, section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.server.conversations.talking import listed, say
from tests.wire_connection import kind

TEMPLATE = ["", "<U>", "<E>\n<A>"]


@pytest.fixture(params=["1.2.3", "1.3.0", "1.3.1"])
def echo(request: pytest.FixtureRequest, start: Start) -> Daemon:
    """Start a daemon whose model answers with the prompt that it was given."""
    daemon = start(version=request.param)
    daemon.load(max_new_tokens=0)
    return daemon


def test_a_session_that_has_the_model_to_itself_goes_on_in_the_kv_cache(echo: Daemon) -> None:
    with echo.connect() as wire:
        assert say(wire, "a", "one")["session"] == {"name": "a", "turns": 1, "replayed_turns": 0}
        second = say(wire, "a", "two")
        assert second["text"].endswith("two")
        assert "one" not in second["text"], "the model has it in its cache"
        assert second["session"] == {"name": "a", "turns": 2, "replayed_turns": 0}
        assert listed(wire)["a"]["in_kv_cache"] is True
    assert echo.calls("rkllm_clear_kv_cache") == 0


def test_the_input_of_a_turn_may_be_an_array_of_one(echo: Daemon) -> None:
    with echo.connect() as wire:
        answers = []
        for prompt in ("one", "two"):
            say(wire, None, "in between")
            answers.append(wire.ask("rkllm.run", [None, [{"prompt_input": prompt}], {}], session="a")["result"])
        assert [answer["session"]["replayed_turns"] for answer in answers] == [0, 1]
        assert answers[1]["text"].endswith("two")
        assert "one" in answers[1]["text"], "the conversation is told again"
        embed: Any = [None, [{"embed_input": {"embed": [[1.0] * 8]}}], {}]
        assert kind(wire.ask("rkllm.run", embed, session="a")) == "InvalidParams"


def test_sessions_take_turns_and_each_is_told_all_of_itself_and_nothing_else(echo: Daemon) -> None:
    with echo.connect() as wire, echo.connect() as other:
        wire.ask("rkllm.set_chat_template", [None, *TEMPLATE])
        first = say(wire, "a", "one")
        say(other, "b", "ONE")
        again = say(wire, "a", "two")
        assert again["session"] == {"name": "a", "turns": 2, "replayed_turns": 1}
        assert f"one<E>\n<A>{first['text']}<E>\n<U>two" in again["text"]
        assert "ONE" not in again["text"]
        assert "history_reset" not in again
        assert "one" not in say(other, "b", "TWO")["text"]
    assert echo.calls("rkllm_clear_kv_cache") == 3, "nobody's words are left in the cache"


def test_a_session_outlives_its_connection_and_other_runs(echo: Daemon) -> None:
    with echo.connect() as wire:
        say(wire, "a", "one")
    with echo.connect() as wire:
        alone = say(wire, None, "no session")
        assert "one" not in alone["text"]
        assert "session" not in alone
        told = say(wire, "a", "two")
        assert "User: " in told["text"], "without a template that is known it is told in words"
        assert "one" in told["text"]
        assert "no session" not in told["text"]


def test_a_session_is_told_again_after_the_cache_was_cleared(echo: Daemon) -> None:
    with echo.connect() as wire:
        say(wire, "a", "one")
        wire.ask("rkllm.clear_kv_cache", [None, 1])
        assert listed(wire)["a"]["in_kv_cache"] is False
        assert say(wire, "a", "two")["session"]["replayed_turns"] == 1


def test_an_answer_that_failed_is_no_turn_and_the_next_one_knows_the_rest(start: Start) -> None:
    daemon = start(changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        say(wire, "a", "one")
        daemon.play(run="error@1")
        assert kind(wire.ask("rkllm.run", {"prompt": "two"}, session="a")) == "RuntimeError"
        daemon.play()
        third = say(wire, "a", "three")
        assert third["session"] == {"name": "a", "turns": 2, "replayed_turns": 1}
        assert "two" not in third["text"]


def test_what_was_generated_before_an_abort_is_what_was_said(start: Start) -> None:
    daemon = start(scenario="text=a b c d e f;tokens=words;repeat=100000;pace_us=1000", changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "one"}, 1, session="a")
        partial = wire.receive()["result"]["text"]
        wire.ask("server.cancel", {"id": 1}, 2)
        while wire.ask("server.status", None, 3)["result"]["state"] != "idle":
            pass
        daemon.play()
        assert listed(wire)["a"]["turns"] == 1
        say(wire, "b", "other")
        assert f"one\n\nAssistant: {partial}" in say(wire, "a", "two")["text"]


def test_a_streamed_turn_and_a_job_count_as_well(echo: Daemon) -> None:
    with echo.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "one"}, 1, session="a")
        assert wire.final(1)["result"]["session"]["turns"] == 1
        job = wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "two"}}, session="a")["result"][
            "job"
        ]
        while (found := wire.ask("server.job", {"job": job})["result"])["status"] != "completed":
            pass
        assert found["result"]["session"] == {"name": "a", "turns": 2, "replayed_turns": 0}


def test_a_dropped_session_is_forgotten_in_the_cache_as_well(echo: Daemon) -> None:
    with echo.connect() as wire:
        say(wire, "a", "one")
        assert wire.ask("server.drop_session", {"name": "a"})["result"] == {"dropped": True, "name": "a"}
        assert wire.ask("server.drop_session", {"name": "a"})["result"] == {"dropped": False, "name": "a"}
        assert listed(wire) == {}
        new = say(wire, "a", "two")
        assert new["session"] == {"name": "a", "turns": 1, "replayed_turns": 0}
    assert echo.calls("rkllm_clear_kv_cache") == 1


def test_sessions_are_bounded_in_number_and_size(start: Start) -> None:
    daemon = start("--max-sessions-per-user", "2", "--session-bytes", "1024", scenario="text=" + "x" * 500)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        for name in ("a", "b", "c"):
            say(wire, name, "one")
        assert list(listed(wire)) == ["c", "b"]
        for _ in range(3):
            say(wire, "c", "more")
        found = listed(wire)["c"]
        assert (found["turns"], found["dropped_turns"]) == (2, 2)
        assert found["size_bytes"] <= 1024


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "x" * 101, 7, True, ["a"], "a b"])
def test_a_wrong_name_is_refused(echo: Daemon, name: Any) -> None:
    with echo.connect() as wire:
        answer = wire.ask("rkllm.run", {"prompt": "one"}, session=name)
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"]["member"] == "session"
    assert echo.calls("rkllm_run") == 0


def test_a_real_model_keeps_two_conversations_apart_and_reads_little_again(start: Start, tmp_path: Path) -> None:
    caches = tmp_path / "caches"
    caches.mkdir()
    daemon = start("--model", "demo", "--cache-directory", str(caches), runtime="portable")
    with daemon.connect() as wire:
        while not wire.ask("server.status")["result"]["models"]:
            pass
        say(wire, "kitchen", "My name is Tom.")
        say(wire, "garage", "My name is Anna.")
        assert "Tom" in say(wire, "kitchen", "What is my name?")["text"]
        assert "Anna" in say(wire, "garage", "What is my name?")["text"]
        with_cache = say(wire, "kitchen", "What is my name?")
        assert "Tom" in with_cache["text"]
        assert with_cache["session"]["replayed_turns"] == 2
        assert wire.ask("server.prompt_caches")["result"]["prompt_caches"] == [], "they are the daemon's own"
    daemon.stop()
    without = start(
        "--model", "demo", "--session-caches", "never", "--cache-directory", str(caches), runtime="portable"
    )
    assert not list(caches.glob("prompts/session-*/*.cache")), "those of an earlier daemon are of no use"
    with without.connect() as wire:
        while not wire.ask("server.status")["result"]["models"]:
            pass
        for name, prompt in (("k", "My name is Tom."), ("g", "My name is Anna."), ("k", "What is my name?")):
            say(wire, name, prompt)
        say(wire, "g", "What is my name?")
        told = say(wire, "k", "What is my name?")
        assert "Tom" in told["text"]
        assert told["perf"]["prefill_tokens"] > with_cache["perf"]["prefill_tokens"]
    assert not list(caches.glob("prompts/session-*/*.cache"))
