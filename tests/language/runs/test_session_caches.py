"""The prompt caches that the daemon itself adds to sessions: what becomes of a turn whose cache can't be written."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.daemon import Start


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
        assert [event["session"] for event in daemon.wait_event("session_turn_without_cache")] == [1]
        second = wire.ask("rkllm.run", {"prompt": "two"}, session="a")["result"]
        assert second["session"] == {"name": "a", "turns": 2, "replayed_turns": 0}
    assert [path for path in caches.rglob("*") if path.is_file()] == []


def test_a_turn_that_failed_otherwise_fails_once(start: Start, tmp_path: Path) -> None:
    daemon = start("--session-caches", "never", scenario={"return.rkllm_run": -1})
    daemon.load()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "one"}, session="a")["error"]["data"]["kind"] == "RuntimeError"
    assert daemon.calls("rkllm_run") == 1
