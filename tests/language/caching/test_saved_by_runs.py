"""The prompt caches that the daemon itself adds to runs: when they are used, and what if they can't be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.daemon import Start
from tests.server.conversations.talking import Talk, say


def test_a_turn_does_not_fail_because_its_cache_can_not_be_written(start: Start, tmp_path: Path) -> None:
    """The folder in which C writes goes as a full disk would: C's run fails, before its first token."""
    caches = tmp_path / "caches"
    caches.mkdir()
    daemon = start(
        "--session-caches", "always", "--cache-directory", str(caches), scenario={"text": "ab", "hold.rkllm_run": 1}
    )
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt": "one"}, 7, session="a")
        daemon.wait_enter("rkllm_run")
        for folder in (caches / "prompts").glob("rkllmd-writing-*"):
            shutil.rmtree(folder)
        daemon.let_go()
        result = wire.final(7)["result"]
        assert (result["text"], result["session"]) == ("ab", {"name": "a", "turns": 1, "replayed_turns": 0})
        assert daemon.calls("rkllm_run") == 2
        assert [event["session"] for event in daemon.wait_event("conversation_without_cache")] == [1]
        second = wire.ask("rkllm.run", {"prompt": "two"}, session="a")["result"]
        assert second["session"] == {"name": "a", "turns": 2, "replayed_turns": 0}
    assert [path for path in caches.rglob("*") if path.is_file()] == []


def test_a_turn_that_failed_otherwise_fails_once(start: Start, tmp_path: Path) -> None:
    daemon = start("--session-caches", "never", scenario={"return.rkllm_run": -1})
    daemon.load()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "one"}, session="a")["error"]["data"]["kind"] == "RuntimeError"
    assert daemon.calls("rkllm_run") == 1


def test_a_vendors_runtime_reads_a_conversation_from_a_cache_if_it_is_trusted_to(start: Start, tmp_path: Path) -> None:
    caches = tmp_path / "caches"
    caches.mkdir()
    settings = ("--session-caches", "always", "--cache-directory", str(caches))
    daemon = start(*settings, scenario="text=short", directory=tmp_path / "place")
    os.utime(daemon.model, ns=(0, 0))  # each start writes it anew
    daemon.load()
    with daemon.connect() as wire:
        wire.ask("rkllm.set_chat_template", [None, "", "<U>", "<E>\n<A>"])
        long, other = Talk(wire, "Be brief. " * 20), Talk(wire)
        first = long.ask("one")["perf"]["prefill_tokens"]
        other.ask("another conversation")
        again = long.ask("two")
        assert again["perf"]["prefill_tokens"] < first / 4
        assert "cached_tokens" not in again, "C does not say how many it has found"
        assert daemon.calls("rkllm_load_prompt_cache") == daemon.calls("rkllm_release_prompt_cache") == 1
        say(wire, "kitchen", "What is said in sessions. " * 10)
        kept = len(list(caches.glob("prompts/session-*/*.cache")))
    daemon.stop()
    daemon = start(*settings, scenario="text=short", directory=tmp_path / "place")
    assert 0 < len(list(caches.glob("prompts/session-*/*.cache"))) < kept, "those of sessions are gone"
    os.utime(daemon.model, ns=(0, 0))
    daemon.load()
    with daemon.connect() as wire:
        wire.ask("rkllm.set_chat_template", [None, "", "<U>", "<E>\n<A>"])
        long.wire = wire
        assert long.ask("three")["perf"]["prefill_tokens"] < first / 4, "the next daemon knows what is in them"
