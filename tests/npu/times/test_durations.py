"""How long calls have taken, and what that says about those that wait."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.npu.times import durations
from rkllmd.npu.times.durations import Durations
from rkllmd.store import learned
from tests.store.stores import opened, written


def test_a_mean_that_follows() -> None:
    past = Durations()
    assert past.expect("rkllm.run", "m") is None
    past.add("rkllm.run", "m", 100)
    assert past.expect("rkllm.run", "m") == 100
    past.add("rkllm.run", "m", 200)
    assert past.expect("rkllm.run", "m") == 150
    for _ in range(30):
        past.add("rkllm.run", "m", 1000)
    assert past.expect("rkllm.run", "m") == pytest.approx(1000, rel=0.01)


def test_an_unknown_model_takes_as_long_as_the_others() -> None:
    past = Durations()
    past.add("rknn.run", "a", 10)
    past.add("rknn.run", "b", 30)
    past.add("rkllm.run", "a", 5000)
    assert past.expect("rknn.run", "c") == 20
    assert past.expect("rknn.init", "a") is None


def test_it_survives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        past = Durations(learned.durations(store))
        past.add("rkllm.run", "/models/a b.rkllm", 123.4567)
        past.save()
    with opened(tmp_path) as store:
        assert Durations(learned.durations(store)).expect("rkllm.run", "/models/a b.rkllm") == 123.457


def test_it_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    puts: list[dict[str, Any]] = []
    kept: Any = SimpleNamespace(read=dict, put=puts.append)
    past = Durations(kept)
    past.add("x", "a", 1)
    past.add("x", "b", 1)
    assert puts == []
    now[0] += 61
    past.add("x", "a", 1)
    assert [list(put.items()) for put in puts] == [[("x b", (1.0, 1)), ("x a", (1.0, 2))]], "the newest last"
    past.save()
    assert puts[1:] == [{}], "nothing has changed"


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "_MOST_ENTRIES", 2)
    past = Durations()
    for name in ("a", "b", "a", "c"):
        past.add("x", name, 1)
    assert [past.expect("x", name) is not None for name in ("a", "c")] == [True, True]
    assert len(past._means) == 2


def test_what_is_kept_no_longer_is_not_in_the_store_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "_MOST_ENTRIES", 2)
    with opened(tmp_path) as store:
        past = Durations(learned.durations(store))
        for name in ("a", "b"):
            past.add("x", name, 1)
        past.save()
        for name in ("a", "c"):
            past.add("x", name, 1)
        past.save()
        written(store)
        assert list(learned.durations(store).read()) == ["x a", "x c"]
