"""What a load will take, and whether there is so much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.machine import memory_guard
from rkllmd.machine.memory_guard import Footprints
from rkllmd.store import learned
from tests.daemon import Daemon, kind
from tests.store.stores import opened, written

GIB = 2**30


def test_a_model_needs_its_file_or_what_it_took_last() -> None:
    footprints = Footprints()
    assert footprints.needed("m", 100) == 100
    footprints.learn("m", 100, 300)
    assert footprints.needed("m", 100) == 300
    assert footprints.needed("m", 500) == 500, "the file has grown"
    footprints.learn("m", 100, 200)
    assert footprints.needed("m", 100) == 200


def test_what_cannot_be_the_models_is_not_believed() -> None:
    footprints = Footprints()
    footprints.learn("m", 100, -5000)
    assert footprints.needed("m", 100) == 100, "somebody gave memory back"
    footprints.learn("m", GIB, 50 * GIB)
    assert footprints.needed("m", GIB) == 3 * GIB, "somebody else took it"


def test_it_survives_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        Footprints(learned.footprints(store)).learn("/models/a b.rkllm", 100, 300)
    with opened(tmp_path) as store:
        assert Footprints(learned.footprints(store)).needed("/models/a b.rkllm", 100) == 300


def test_only_so_much_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_guard, "_MOST_ENTRIES", 2)
    with opened(tmp_path) as store:
        footprints = Footprints(learned.footprints(store))
        for model in ("a", "b", "c"):
            footprints.learn(model, 100, 300)
        written(store)
        assert list(learned.footprints(store).read()) == ["b", "c"]


@pytest.mark.parametrize("method", ["rkllm.init", "rknn.init"])
def test_a_load_that_does_not_fit_is_refused_before_the_runtime_sees_it(
    start: Callable[..., Daemon], method: str
) -> None:
    daemon = start("--memory-reserve-bytes", str(2**40))
    with daemon.connect() as wire:
        refused = wire.ask(method, {"model_path": str(daemon.model)})
        assert kind(refused) == "OutOfMemory"
        data = refused["error"]["data"]
        assert data["needed_bytes"] + data["reserve_bytes"] > data["available_bytes"] > 0
        assert data["loaded"] == []
        assert "memory_reserve_bytes" in refused["error"]["message"]
    assert daemon.calls(method.replace(".", "_")) == 0


def test_what_is_loaded_is_named(start: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "rkllmd.toml"
    config.write_text("memory_reserve_bytes = 0\nmax_models = 2\n")
    daemon = start("--config", str(config))
    handle = daemon.load()
    config.write_text(f"memory_reserve_bytes = {2**40}\n")
    daemon.process.send_signal(1)
    daemon.wait_event("reloaded")
    with daemon.connect() as wire:
        refused = wire.ask("rkllm.init", {"model_path": str(daemon.model)})
    assert [item["handle"] for item in refused["error"]["data"]["loaded"]] == [handle]
