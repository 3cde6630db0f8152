"""How long calls have taken, and what that says about those that wait."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from rkllmd.npu import durations
from rkllmd.npu.durations import Durations


def test_a_mean_that_follows() -> None:
    past = Durations(None)
    assert past.expect("rkllm.run", "m") is None
    past.add("rkllm.run", "m", 100)
    assert past.expect("rkllm.run", "m") == 100
    past.add("rkllm.run", "m", 200)
    assert past.expect("rkllm.run", "m") == 150
    for _ in range(30):
        past.add("rkllm.run", "m", 1000)
    assert past.expect("rkllm.run", "m") == pytest.approx(1000, rel=0.01)


def test_an_unknown_model_takes_as_long_as_the_others() -> None:
    past = Durations(None)
    past.add("rknn.run", "a", 10)
    past.add("rknn.run", "b", 30)
    past.add("rkllm.run", "a", 5000)
    assert past.expect("rknn.run", "c") == 20
    assert past.expect("rknn.init", "a") is None


def test_it_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    past = Durations(path)
    past.add("rkllm.run", "/models/a b.rkllm", 123.4567)
    past.save()
    assert Durations(path).expect("rkllm.run", "/models/a b.rkllm") == 123.457
    assert [item.name for item in tmp_path.iterdir()] == ["history.json"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"x":1}', b'{"x":["a",1]}', b'{"x":[1]}', b'{"x":[-1,1]}', b'{"x":[1,0]}', b"\xff"]
)
def test_a_file_that_is_none_of_ours_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with capture_logs():
        past = Durations(path)
    assert past.expect("x", "") is None


def test_a_directory_that_is_gone_costs_nothing_but_a_line(tmp_path: Path) -> None:
    past = Durations(tmp_path / "gone" / "history.json")
    past.add("x", "", 1)
    with capture_logs() as logs:
        past.save()
        past.save()
    assert [entry["event"] for entry in logs] == ["history_not_saved"]


def test_it_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = tmp_path / "history.json"
    past = Durations(path)
    past.add("x", "", 1)
    assert not path.exists()
    now[0] += 61
    past.add("x", "", 1)
    for thread in threading.enumerate():
        if thread.name == "durations":
            thread.join()
    saved: dict[str, Any] = orjson.loads(path.read_bytes())
    assert saved == {"x ": [1.0, 2]}


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "_MOST_ENTRIES", 2)
    past = Durations(None)
    for name in ("a", "b", "a", "c"):
        past.add("x", name, 1)
    assert [past.expect("x", name) is not None for name in ("a", "c")] == [True, True]
    assert len(past._means) == 2
