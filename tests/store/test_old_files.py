"""The JSON files of earlier versions: taken over once, and removed when their content is in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.store import learned, old_files
from tests.store.stores import opened

DEATH = {"death": "SIGABRT", "step": "rkllm_init", "lines": [], "most_bytes": 7}
OLD = {
    "history.json": {"rkllm.run m": [1.5, 2]},
    "memory.json": {"m": 7},
    "trials.json": {"x": DEATH, "y": {}},
}


def write_old(state: Path) -> None:
    for name, content in OLD.items():
        (state / name).write_text(json.dumps(content))


def test_they_are_taken_over_once(tmp_path: Path) -> None:
    write_old(tmp_path)
    with opened(tmp_path) as store:
        old_files.take_over(store, str(tmp_path))
        assert learned.durations(store).read() == {"rkllm.run m": (1.5, 2)}
        assert learned.footprints(store).read() == {"m": 7}
        assert learned.verdicts(store).read() == OLD["trials.json"]
        assert [path.name for path in tmp_path.iterdir()] == ["store"]
        learned.footprints(store).put({"m": 8})
        old_files.take_over(store, str(tmp_path))
    with opened(tmp_path) as store:
        assert learned.footprints(store).read() == {"m": 8}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x":1}', b'{"x":["a",1]}', b'{"x":[-1,1]}', b"\xff"])
@pytest.mark.parametrize("name", ["history.json", "trials.json"])
def test_one_that_makes_no_sense_is_removed_too(tmp_path: Path, name: str, content: bytes) -> None:
    write_old(tmp_path)
    (tmp_path / name).write_bytes(content)
    with opened(tmp_path) as store, capture_logs() as logs:
        old_files.take_over(store, str(tmp_path))
        assert learned.footprints(store).read() == {"m": 7}
        assert "old_file_not_read" in [line["event"] for line in logs]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_they_stay_where_nothing_is_kept(tmp_path: Path) -> None:
    write_old(tmp_path)
    with opened("") as store:
        old_files.take_over(store, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(OLD)


def test_they_stay_until_their_content_is_on_the_disk(tmp_path: Path) -> None:
    write_old(tmp_path)
    with opened(tmp_path) as store, capture_logs():
        store.read("PRAGMA max_page_count = 1")
        (tmp_path / "memory.json").write_text(json.dumps({"x" * 50_000: 1}))
        old_files.take_over(store, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*OLD, "store"}
