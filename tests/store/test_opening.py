"""Opening the store: a start never fails by it, and what is of no use is set aside."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.store import directory as directory_module
from rkllmd.store import learned, schema
from rkllmd.store.directory import NAME
from rkllmd.store.store import Store
from tests.store.stores import file_of, looked_into, opened, written


def sizes(store: Store) -> dict[str, int]:
    return learned.footprints(store).read()


def fill(state: Path, rows: int = 1) -> None:
    with opened(state) as store:
        learned.footprints(store).put({f"model {number}": number + 1 for number in range(rows)})


def test_what_was_written_is_there_for_the_next_daemon(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path) as store:
        assert sizes(store) == {"model 0": 1}
        assert store.describe() == {
            "kept_in": str(tmp_path / NAME),
            "unavailable": None,
            "unsaved": 0,
            "failure": None,
            "set_aside": [],
        }
        assert store.is_lasting


def test_all_files_are_the_daemons_users_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        learned.footprints(store).put({"m": 1})
        written(store)
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / NAME).iterdir()}
        assert files == {"rkllmd.sqlite": 0o600, "rkllmd.sqlite-wal": 0o600}, "and no file of shared memory"
    assert [path.name for path in (tmp_path / NAME).iterdir()] == ["rkllmd.sqlite"], "all of it is in the file"


@pytest.mark.parametrize("state", ["", "/nonexistent"])
def test_without_a_directory_nothing_is_kept(state: str) -> None:
    with opened(state) as store:
        learned.footprints(store).put({"m": 1})
        assert sizes(store) == {}
        assert not store.is_lasting
        assert store.describe()["kept_in"] is None
        assert "state_directory" in store.describe()["unavailable"]


def test_a_second_daemon_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "LOCK_SECONDS", 0.0)
    fill(tmp_path)
    with opened(tmp_path) as first, opened(tmp_path) as second:
        assert (first.is_lasting, second.is_lasting) == (True, False)
        assert "Another rkllmd" in second.describe()["unavailable"]
        assert sizes(second) == {}
        learned.footprints(first).put({"m": 7})
        written(first)
    with opened(tmp_path) as store:
        assert sizes(store) == {"model 0": 1, "m": 7}


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(4080), os.urandom(8192)])
def test_a_file_that_is_no_store_is_set_aside(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path)
    file_of(tmp_path).write_bytes(content)
    with capture_logs() as logs, opened(tmp_path) as store:
        assert sizes(store) == {}
        learned.footprints(store).put({"m": 1})
        written(store)
        (aside,) = store.describe()["set_aside"]
        assert Path(aside).read_bytes() == content
        assert [(line["event"], line["kept_as"]) for line in logs] == [("store_set_aside", aside)]
    with opened(tmp_path) as store:
        assert sizes(store) == {"m": 1}


def test_damage_anywhere_is_no_reason_not_to_start(tmp_path: Path) -> None:
    fill(tmp_path, 2000)
    whole = file_of(tmp_path).read_bytes()
    chance = random.Random(12)
    for _ in range(60):
        damaged = bytearray(whole)
        start = chance.randrange(len(whole) - 64)
        damaged[start : start + 64] = chance.randbytes(64)
        file_of(tmp_path).write_bytes(damaged[: chance.choice([len(whole), chance.randrange(1, len(whole))])])
        with capture_logs(), opened(tmp_path) as store:
            sizes(store)
            learned.footprints(store).put({"new": 5})
            written(store)
            assert sizes(store)["new"] == 5
        file_of(tmp_path).unlink()


def test_a_store_of_a_later_version_is_set_aside_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path)
    with looked_into(file_of(tmp_path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with capture_logs() as logs, opened(tmp_path) as store:
        assert sizes(store) == {}
        (aside,) = store.describe()["set_aside"]
    assert "later version" in logs[0]["reason"]
    with looked_into(Path(aside)) as connection:
        assert connection.execute("SELECT * FROM footprints").fetchall() == [("model 0", 1)]


def test_a_file_that_can_not_be_opened_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(mode=0o700)
    file_of(tmp_path).mkdir()
    with capture_logs() as logs, opened(tmp_path) as store:
        assert not store.is_lasting
        assert str(file_of(tmp_path)) in store.describe()["unavailable"]
    assert logs[0]["event"] == "store_not_opened"


KILLED = """
import os, sys
from rkllmd.store import learned
from rkllmd.store.opening import open_store
store = open_store(sys.argv[1])
learned.footprints(store).put({"m": 3})
assert store.wait(seconds=60) is None
os.kill(os.getpid(), 9)
"""


def test_a_daemon_that_was_killed_has_lost_nothing_that_was_written(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    with opened(tmp_path) as store:
        assert sizes(store) == {"m": 3}
