"""Models that are swapped: one takes the place of others, which sleep until they are called."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.config.settings import Config
from rkllmd.language.models import leaving, loading
from rkllmd.npu.job import Arrival
from rkllmd.trials import trial
from tests.daemon import Daemon, Start, until
from tests.wire_connection import Wire


def language_of(*models: Any, most: int = 1, takes_several: bool = True) -> Any:
    return SimpleNamespace(
        models=models,
        config=Config(max_models=most),
        runtime=SimpleNamespace(takes_several_models=takes_several),
        memory_guard=SimpleNamespace(footprints=SimpleNamespace(least=lambda demand: demand)),
        states=SimpleNamespace(size_bytes=0),
    )


def model(used_at: float, *, is_asleep: bool = False) -> Any:
    return SimpleNamespace(used_at=used_at, is_asleep=is_asleep, demand=5)


def test_those_leave_that_were_unused_for_longest() -> None:
    old, new, asleep = model(1), model(2), model(0, is_asleep=True)
    assert leaving.for_one_more(language_of(new, asleep, old, most=2)) == [old]
    assert leaving.for_one_more(language_of(new, asleep, old, most=3)) == []
    assert leaving.for_one_more(language_of(new, old, most=3, takes_several=False)) == [old, new]
    language = language_of()
    assert leaving.given_back(language, [old, asleep]) == 5, "a sleeper has nothing to give back"
    language.states.size_bytes = 20
    assert leaving.given_back(language, [old]) == 25, "conversations give their memory back"


def test_who_leaves_for_a_woken_model_is_remembered_as_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, Any]] = []
    old, woken = model(1), model(0, is_asleep=True)
    for number, item in enumerate((old, woken)):
        item.number, item.name, item.path, item.domain = number, None, f"/m{number}", 0
    woken.param = SimpleNamespace(extend_param=SimpleNamespace(base_domain_id=0))
    language = language_of(old, woken)
    language.memory_guard.check = lambda demand, given_back=0: done.append(("check", given_back))
    language.remembered = SimpleNamespace(
        put=lambda item: done.append(("put", item)), keep=lambda item: done.append(("keep", item))
    )
    monkeypatch.setattr(trial, "refuse_set_aside", lambda language, path: None)
    monkeypatch.setattr(loading, "load_again", lambda language, item: done.append(("load", item)))

    def sleep(language: Any, item: Any) -> None:
        item.is_asleep = True
        done.append(("sleep", item))

    monkeypatch.setattr(loading, "put_to_sleep", sleep)
    loading.wake(language, woken)
    assert done == [
        ("check", 5),
        *[("sleep", old), ("put", old)],
        *[("check", 0), ("load", woken), ("keep", woken)],
    ]


def states(wire: Wire) -> dict[str, tuple[int, str]]:
    shown = wire.ask("server.status")["result"]["models"]
    return {item["name"]: (item["handle"], item["state"]) for item in shown}


def swapping(start: Start, directory: Path) -> Daemon:
    """Start a daemon with two declared models that take each other's place."""
    tables = []
    for name in "ab":
        (directory / f"{name}.rkllm").touch()
        tables.append(f'[models.{name}]\nmodel_path = "{directory}/{name}.rkllm"\nswap = true\n')
    (directory / "rkllmd.toml").write_text("".join(tables))
    return start("--config", str(directory / "rkllmd.toml"), changing=True)


def test_a_model_takes_the_place_of_another_that_sleeps_until_it_is_called(start: Start, tmp_path: Path) -> None:
    daemon = swapping(start, tmp_path)
    with daemon.connect() as wire:

        def load(name: str) -> dict[str, Any]:
            found: dict[str, Any] = wire.ask("rkllm.init", {"model_path": name})["result"]
            return found

        a, b = load("a")["handle"], load("b")
        assert b["displaced"] == [a]
        assert states(wire) == {"a": (a, "asleep"), "b": (b["handle"], "loaded")}
        assert wire.ask("rkllm.run", {"handle": a, "prompt": "Hi"})["result"]["text"] == "[user] Hi"
        assert states(wire) == {"a": (a, "loaded"), "b": (b["handle"], "asleep")}
        again = load("b")
        assert (again["handle"], again["already_loaded"]) == (b["handle"], True)
        assert states(wire) == {"a": (a, "asleep"), "b": (b["handle"], "loaded")}
        other = wire.ask("rkllm.init", {"model_path": str(daemon.model)})
        assert other["error"]["data"]["kind"] == "ModelAlreadyLoaded", "only those that are declared so take a place"
        declared = wire.ask("server.status")["result"]["declared_models"]
        assert [(item["name"], item["swap"]) for item in declared] == [("a", True), ("b", True)]
    loads = [line[3] for line in daemon.trace() if line[2] == "enter" and line[3] in ("rkllm_init", "rkllm_destroy")]
    assert loads[:7] == ["rkllm_init", *["rkllm_destroy", "rkllm_init"] * 3]


def test_if_the_load_fails_the_other_is_loaded_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "rkllmd.toml").write_text(f'[models.b]\nmodel_path = "{tmp_path}/b.rkllm"\nswap = true\n')
    (tmp_path / "b.rkllm").touch()
    daemon = start("--config", str(tmp_path / "rkllmd.toml"), scenario={"init": "fail@2"})
    first = daemon.load()
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "b"})["error"]
        assert error["data"]["restored"] == [first]
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"


def test_nobody_leaves_for_a_model_that_is_loaded() -> None:
    old, asleep = model(1), model(0, is_asleep=True)
    language = language_of(old, asleep)
    assert leaving.for_waking(language, asleep) == Arrival(asleep, [old])
    assert leaving.for_waking(language, old) == Arrival(old, None)


def waits(wire: Wire, count: int) -> bool:
    return bool(wire.ask("server.queue")["result"]["length"] == count)


def test_who_waits_for_the_loaded_model_goes_before_a_change(start: Start, tmp_path: Path) -> None:
    daemon = swapping(start, tmp_path)
    with ExitStack() as stack:
        first, looking, *others = (stack.enter_context(daemon.connect()) for _ in range(6))
        a, b = (first.ask("rkllm.init", {"model_path": name})["result"]["handle"] for name in "ab")
        daemon.hold()
        daemon.play(hold__rkllm_run=1)
        first.request("rkllm.run", {"handle": b, "prompt": "x"})
        daemon.wait_enter("rkllm_run")
        for count, (wire, handle) in enumerate(zip(others, (a, b, a, b), strict=True), 1):
            wire.request("rkllm.run", {"handle": handle, "prompt": "x"})
            until("it waits", partial(waits, looking, count))
        daemon.let_go()
        assert all("result" in wire.final(1) for wire in (first, *others))
    assert daemon.calls("rkllm_init") == 3, "a is loaded once for both of its calls"


@pytest.mark.parametrize("load", [{"model_path": "a"}, {"model_path": "a", "replace": True}])
def test_who_waits_for_the_loaded_model_goes_before_a_load_for_which_it_leaves(
    start: Start, tmp_path: Path, load: dict[str, Any]
) -> None:
    daemon = swapping(start, tmp_path)
    with ExitStack() as stack:
        first, looking, loading, waiting = (stack.enter_context(daemon.connect()) for _ in range(4))
        b = first.ask("rkllm.init", {"model_path": "b"})["result"]["handle"]
        daemon.hold()
        daemon.play(hold__rkllm_run=1)
        first.request("rkllm.run", {"handle": b, "prompt": "x"})
        daemon.wait_enter("rkllm_run")
        loading.request("rkllm.init", load)
        until("it waits", partial(waits, looking, 1))
        waiting.request("rkllm.run", {"handle": b, "prompt": "x"})
        until("it waits", partial(waits, looking, 2))
        shown = looking.ask("server.queue")["result"]["queue"]
        assert [entry["method"] for entry in shown] == ["rkllm.run", "rkllm.init"]
        daemon.let_go()
        assert waiting.final(1)["result"]["text"] == "[user] x"
        assert loading.final(1)["result"]["replaced" if "replace" in load else "displaced"] == [b]


def test_the_wait_behind_a_model_that_sleeps_has_its_load(start: Start, tmp_path: Path) -> None:
    daemon = swapping(start, tmp_path)
    daemon.play(delay__rkllm_init=200)
    with ExitStack() as stack:
        first, looking, waking, behind = (stack.enter_context(daemon.connect()) for _ in range(4))
        a, b = (first.ask("rkllm.init", {"model_path": name})["result"]["handle"] for name in "ab")
        first.ask("rkllm.run", {"handle": b, "prompt": "learn"})
        daemon.hold()
        daemon.play(hold__rkllm_run=1)
        first.request("rkllm.run", {"handle": b, "prompt": "x"}, 2)
        daemon.wait_enter("rkllm_run", 2)
        for count, wire in enumerate((waking, behind), 1):
            wire.request("rkllm.run", {"handle": a, "prompt": "x"})
            until("it waits", partial(waits, looking, count))
        waking_ms, behind_ms = (item["estimated_wait_ms"] for item in looking.ask("server.queue")["result"]["queue"])
        assert behind_ms - waking_ms >= 200
        daemon.let_go()
        assert all("result" in wire.final(number) for wire, number in ((first, 2), (waking, 1), (behind, 1)))
