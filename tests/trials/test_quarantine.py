"""When a model is set aside, and when it is not any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.config.settings import Config
from rkllmd.errors import Quarantined
from rkllmd.store import learned
from rkllmd.trials.quarantine import CrashOfCall, Quarantine, content_hash, state_of
from tests.store.stores import opened

MODEL = "/m/a.rkllm"


def as_before(model: str) -> str:
    return f"state of {model}"


def crash(quarantine: Quarantine, *times: float, function: str = "rkllm_run", model: str = MODEL) -> None:
    for at in times:
        quarantine.note(CrashOfCall(function, model, at, "SIGSEGV"), as_before(model))


def is_aside(quarantine: Quarantine, model: str = MODEL, state: Callable[[str], str] = as_before) -> bool:
    try:
        quarantine.check(model, state)
    except Quarantined:
        return True
    return False


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], False),
        ([0, 1], False),
        ([0, 1, 2], True),
        ([0, 300, 600], True),
        ([0, 300, 601], False),
        ([0, 601, 602, 603], True),
        ([0, 1, 2, 10_000], True),
    ],
)
def test_three_crashes_in_ten_minutes_are_too_many(times: list[float], expected: bool) -> None:
    quarantine = Quarantine()
    with capture_logs() as logs:
        crash(quarantine, *times)
    assert is_aside(quarantine) is expected
    assert [line["event"] for line in logs] == ["model_set_aside"] * expected, "which is said once"
    assert not is_aside(quarantine, "/m/other.rkllm")


def test_each_function_counts_for_itself() -> None:
    quarantine = Quarantine()
    for function in ("rkllm_run", "rkllm_init", "rkllm_load_lora"):
        crash(quarantine, 0, 1, function=function)
    assert not is_aside(quarantine)
    crash(quarantine, 2, function="rkllm_init")
    with pytest.raises(Quarantined) as refused:
        quarantine.check(MODEL, as_before)
    assert "rkllm_init has crashed the daemon 3 times" in refused.value.message
    assert refused.value.data["function"] == "rkllm_init"
    assert refused.value.data["model_path"] == MODEL
    assert refused.value.data["crashes"] == [{"at": at, "end": "SIGSEGV"} for at in (0, 1, 2)]


def test_a_model_without_a_path_has_none_in_the_error() -> None:
    quarantine, model = Quarantine(), content_hash(memoryview(b"model"))
    crash(quarantine, 0, 1, 2, model=model)
    with pytest.raises(Quarantined) as refused:
        quarantine.check(model, as_before)
    assert refused.value.data["model_path"] is None


def test_what_has_changed_is_tried_again_and_counts_from_the_beginning() -> None:
    quarantine = Quarantine()
    crash(quarantine, 0, 1, 2)
    assert not is_aside(quarantine, state=lambda _: "another")
    quarantine.note(CrashOfCall("rkllm_run", MODEL, 3, "SIGABRT"), "another")
    assert not is_aside(quarantine, state=lambda _: "another")


def test_by_force_it_counts_from_the_beginning_too() -> None:
    quarantine = Quarantine()
    crash(quarantine, 0, 1, 2)
    crash(quarantine, 0, 1, 2, model="/m/other.rkllm")
    quarantine.forget(MODEL)
    assert not is_aside(quarantine)
    assert is_aside(quarantine, "/m/other.rkllm")
    crash(quarantine, 3, 4)
    assert not is_aside(quarantine)


def test_nothing_is_looked_at_while_nothing_has_crashed() -> None:
    def never(_: str) -> str:
        raise AssertionError

    Quarantine().check(MODEL, never)


def test_it_outlives_the_daemon(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        crash(Quarantine(learned.crashes(store)), 0, 1, 2)
    with opened(tmp_path) as store:
        quarantine = Quarantine(learned.crashes(store))
        assert is_aside(quarantine)
        quarantine.forget(MODEL)
    with opened(tmp_path) as store:
        assert not is_aside(Quarantine(learned.crashes(store)))


def test_so_many_calls_are_remembered_and_no_more() -> None:
    quarantine = Quarantine()
    crash(quarantine, 0, 1, 2, model="/m/first")
    for number in range(200):
        crash(quarantine, 0, 1, 2, model=f"/m/{number}")
    assert not is_aside(quarantine, "/m/first")
    assert is_aside(quarantine, "/m/199")


def test_what_makes_a_difference(tmp_path: Path) -> None:
    model, library = tmp_path / "m.rkllm", tmp_path / "librkllmrt.so"
    model.write_bytes(b"weights")
    library.write_bytes(b"runtime")
    config = Config()

    def state(config: Config = config, path: str = str(model)) -> str:
        return state_of(path, str(library), config)

    seen = [state()]
    assert state(replace(config)) == seen[0], "the same again"
    seen.append(state(replace(config, max_models=2)))
    os.utime(model, (1, 1))
    seen.append(state())
    library.write_bytes(b"another runtime")
    seen.append(state())
    model.unlink()
    seen.append(state())
    assert len(set(seen)) == len(seen)
    in_memory = content_hash(memoryview(b"weights"))
    assert state(path=in_memory) == state(path=in_memory)
