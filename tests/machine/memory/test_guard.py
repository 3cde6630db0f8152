"""What a load will take, and whether there is this much."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.config.values import DEFAULT_RESERVE
from rkllmd.errors import OutOfMemory
from rkllmd.machine.memory import guard
from rkllmd.machine.memory.guard import Demand, Footprints, MemoryGuard
from rkllmd.store import learned
from tests.daemon import Daemon
from tests.machine.machines import tree
from tests.machine.memory.groups import fill, in_a_group
from tests.store.stores import opened, written
from tests.wire_connection import kind

MIB = 2**20
GIB = 2**30


def load(size: int, beside: int = 0, *, is_guess: bool = False, known_by: str = "m") -> Demand:
    return Demand("m", size, beside, is_guess, known_by)


def test_a_model_needs_its_file_and_what_comes_beside_it_or_what_it_took() -> None:
    footprints = Footprints()
    assert footprints.needed(load(100)) == 100
    assert footprints.needed(load(100, 50)) == 150
    footprints.learn(load(100), 300)
    assert footprints.needed(load(100, 50)) == 300
    assert footprints.needed(load(500, 50)) == 550, "the file has grown"
    footprints.learn(load(100), 120)
    assert footprints.needed(load(100, 50)) == 150, "its buffers are not touched before the first run"
    assert footprints.needed(load(100, 50, is_guess=True)) == 120, "what it took is better than a guess"
    assert footprints.needed(load(100, 50, is_guess=True, known_by="m (context 8)")) == 150
    assert footprints.least(load(100, 50)) == 120


def test_what_cannot_be_the_models_is_not_believed() -> None:
    footprints = Footprints()
    footprints.learn(load(100), -5000)
    assert footprints.needed(load(100)) == 100, "somebody gave memory back"
    footprints.learn(load(GIB), 50 * GIB)
    assert footprints.needed(load(GIB)) == 3 * GIB, "somebody else took it"
    footprints.learn(load(100, known_by=""), 300)
    assert footprints.needed(load(100, known_by="")) == 100, "two of no name have nothing in common"


def test_it_survives_a_restart(tmp_path: Path) -> None:
    of_path = load(100, known_by="/models/a b.rkllm")
    with opened(tmp_path) as store:
        Footprints(learned.footprints(store)).learn(of_path, 300)
    with opened(tmp_path) as store:
        assert Footprints(learned.footprints(store)).needed(of_path) == 300


def test_only_so_much_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_MOST_ENTRIES", 2)
    with opened(tmp_path) as store:
        footprints = Footprints(learned.footprints(store))
        for model in ("a", "b", "c"):
            footprints.learn(load(100, known_by=model), 300)
        written(store)
        assert list(learned.footprints(store).read()) == ["b", "c"]


# -- whether it fits -------------------------------------------------------------------------------------------------


def guarding(root: Path, files: dict[str, str], reserve: int = DEFAULT_RESERVE) -> MemoryGuard:
    current: Any = SimpleNamespace(config=SimpleNamespace(memory_reserve_bytes=reserve))
    return MemoryGuard(current, tree(root, files), Footprints())


def board(total: int, available: int) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\n"}


def group(limit: int, used: int) -> dict[str, str]:
    own = "sys/fs/cgroup/system.slice/rkllmd.service"
    return {
        "proc/self/cgroup": "0::/system.slice/rkllmd.service\n",
        f"{own}/memory.max": f"{limit}\n",
        f"{own}/memory.high": "max\n",
        f"{own}/memory.current": f"{used}\n",
    }


def test_a_limit_of_the_control_group_counts_where_the_board_has_more(tmp_path: Path) -> None:
    """Of 2 GiB, 226 MiB were left in the group, and the next load was killed."""
    files = {**board(8 * GIB, 6 * GIB), **group(2 * GIB, 2 * GIB - 738 * MIB)}
    within = guarding(tmp_path, files)
    within.check(Demand("m", 200 * MIB, 26 * MIB))
    with pytest.raises(OutOfMemory) as refused:
        within.check(Demand("m", 200 * MIB, 27 * MIB, advice=", or pray"))
    assert refused.value.data == {
        "needed_bytes": 227 * MIB,
        "available_bytes": 738 * MIB,
        "reserve_bytes": 512 * MIB,
        "limited_by": "the control group /system.slice/rkllmd.service",
        "limit_bytes": 2 * GIB,
        "loaded": [],
    }
    assert refused.value.message == (
        "m needs 227 MiB (200 MiB of files, 27 MiB of caches and buffers); 738 MiB are available in the control group "
        "/system.slice/rkllmd.service, 512 MiB of it reserved (memory_reserve_bytes): unload something first, or pray."
    )
    assert within.left_bytes() == 226 * MIB
    assert within.machine_available_bytes == 6 * GIB
    assert within.describe()["cgroup"] == {"limit_bytes": 2 * GIB, "available_bytes": 738 * MIB}


def test_a_limit_that_is_wider_than_the_board_does_not(tmp_path: Path) -> None:
    around = guarding(tmp_path, {**board(2 * GIB, GIB), **group(64 * GIB, 0)}, reserve=0)
    around.check(Demand("m", GIB))
    with pytest.raises(OutOfMemory) as refused:
        around.check(Demand("m", GIB + 1))
    assert refused.value.data["limited_by"] == "this machine"


def test_a_machine_that_does_not_say_refuses_nothing(tmp_path: Path) -> None:
    silent = guarding(tmp_path, {})
    silent.check(Demand("m", 2**60))
    assert (silent.left_bytes(), silent.describe()["cgroup"]) == (None, None)


def test_small_things_do_not_wait_for_the_whole_reserve(tmp_path: Path) -> None:
    crowded = guarding(tmp_path, board(2 * GIB, 100 * MIB))
    assert crowded.left_bytes() == 64 * MIB, "so that models that take next to nothing still run"
    crowded.check_bytes("The memory", 50 * MIB)
    with pytest.raises(OutOfMemory, match=r"^The memory needs 51 MiB; 100 MiB are available in this machine, 51 MiB"):
        crowded.check_bytes("The memory", 51 * MIB)


def test_a_daemon_in_a_control_group_that_is_nearly_full(start: Callable[..., Daemon], tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    use = partial(fill, groups, 512 * MIB)
    use(500 * MIB)
    daemon = start("--memory-reserve-bytes", "0", launcher=in_a_group(groups))
    with daemon.model.open("r+b") as file:
        file.write(b"SIMMODEL")
        file.truncate(12 * MIB)
    with daemon.connect() as wire:
        assert wire.ask("server.status")["result"]["memory"]["cgroup"] == {
            "limit_bytes": 512 * MIB,
            "available_bytes": 13 * MIB,
        }
        refused = [
            wire.ask("rkllm.init", {"model_path": str(daemon.model), "max_context_len": 16384}),
            wire.ask("rknn.init", {"model_path": str(daemon.model)}),
        ]
        assert [kind(answer) for answer in refused] == ["OutOfMemory"] * 2
        for answer in refused:
            data = answer["error"]["data"]
            assert (data["limited_by"], data["needed_bytes"]) == ("the control group /", 24 * MIB)
        assert (daemon.calls("rkllm_init"), daemon.calls("rknn_init")) == (0, 0)
        use(400 * MIB)
        context = wire.ask("rknn.init", {"model_path": str(daemon.model)})["result"]["context"]
        use(500 * MIB)
        fits, too_much = (wire.ask("rknn.create_mem", [context, size * MIB]) for size in (13, 14))
        assert (kind(fits), kind(too_much)) == (None, "OutOfMemory")
        assert too_much["error"]["data"]["limited_by"] == "the control group /"
        use(400 * MIB)
        assert kind(wire.ask("rkllm.init", {"model_path": str(daemon.model), "max_context_len": 16384})) is None


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
        assert data["limited_by"]
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
