"""What the daemon keeps across restarts, over the real socket: where, for whom, and when it can't."""

from __future__ import annotations

import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from rkllmd.store import learned
from tests.daemon import UNMEASURED, Daemon, Start, until
from tests.store.stores import file_of, opened
from tests.wire_connection import kind


def store_of(daemon: Daemon) -> dict[str, Any]:
    with daemon.connect() as wire:
        return dict(wire.ask("server.status")["result"]["store"])


def test_the_status_says_where_it_is_kept(start: Start, tmp_path: Path) -> None:
    daemon = start("--state-directory", str(tmp_path))
    assert store_of(daemon) == {
        "kept_in": str(tmp_path / "store"),
        "unavailable": None,
        "unsaved": 0,
        "failure": None,
        "set_aside": [],
    }
    files = [path for path in tmp_path.rglob("*") if "store" in path.parts]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()}
    assert files
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("state", ["", "/nonexistent"])
def test_without_a_place_all_is_in_memory_and_the_status_says_so(start: Start, state: str) -> None:
    daemon = start("--state-directory", state)
    daemon.load()
    found = store_of(daemon)
    assert found["kept_in"] is None
    assert "state_directory" in found["unavailable"]


def test_a_second_daemon_serves_without_it(start: Start, tmp_path: Path) -> None:
    first = start("--state-directory", str(tmp_path))
    second = start("--state-directory", str(tmp_path))
    assert "Another rkllmd" in store_of(second)["unavailable"]
    assert store_of(first)["unavailable"] is None


def test_a_store_that_makes_no_sense_is_no_reason_not_to_start(start: Start, tmp_path: Path) -> None:
    start("--state-directory", str(tmp_path)).stop()
    file_of(tmp_path).write_bytes(b"nonsense")
    daemon = start("--state-directory", str(tmp_path))
    (aside,) = store_of(daemon)["set_aside"]
    assert Path(aside).read_bytes() == b"nonsense"
    assert daemon.events("store_set_aside")[0]["kept_as"] == aside


def test_a_daemon_that_is_killed_leaves_what_it_has_learned(start: Start, tmp_path: Path) -> None:
    daemon = start("--state-directory", str(tmp_path), "--trial-loads", "always")
    log = file_of(tmp_path).with_name("rkllmd.sqlite-wal")
    before = log.stat().st_size
    daemon.load()
    until("the verdict of the trial", lambda: log.stat().st_size > before)
    daemon.stop(signal.SIGKILL)
    with opened(tmp_path) as store:
        assert list(learned.verdicts(store).read().values()) == [{}]
        assert store.describe()["set_aside"] == []


def test_a_disk_without_room_fails_no_call(start: Start, tmp_path: Path) -> None:
    # No file may grow beyond that: the kernel answers EFBIG.
    state = tmp_path / "state"
    state.mkdir()
    start("--state-directory", str(state)).stop()
    limit = 'ulimit -f 32; exec "$@"'  # blocks of 512 bytes
    launcher = [*UNMEASURED, "sh", "-c", limit, "sh"]
    daemon = start("--state-directory", str(state), launcher=launcher, scenario="text=ab")
    daemon.load()
    with daemon.connect() as wire:
        for _ in range(3):
            assert wire.ask("rkllm.run", {"prompt": "Hello"})["result"]["text"] == "ab"
    daemon.stop()


def test_no_clients_path_leads_into_it(start: Start, tmp_path: Path) -> None:
    daemon = start("--state-directory", str(tmp_path), "--writable-directories", str(tmp_path))
    daemon.load()
    with daemon.connect() as wire:
        for path in (file_of(tmp_path), file_of(tmp_path).with_name("rkllmd.sqlite-wal")):
            save = {"save_prompt_cache": 1, "prompt_cache_path": str(path)}
            assert kind(wire.ask("rkllm.run", {"prompt": "x", "prompt_cache_params": save})) == "PermissionDenied"
            assert kind(wire.ask("rkllm.load_prompt_cache", [None, str(path)])) == "PermissionDenied"
            assert kind(wire.ask("rknn.init", {"model_path": str(path)})) == "PermissionDenied"
