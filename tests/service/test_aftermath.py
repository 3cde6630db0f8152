"""Which crashes count against a model; that it is set aside then: tests/server/lifetime/test_quarantine.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.config.settings import Config
from rkllmd.json_types import JsonObject
from rkllmd.service import aftermath, crashes
from rkllmd.service.crashes import Crashes
from rkllmd.store.learned import last_crash
from rkllmd.store.store import Store
from rkllmd.trials.quarantine import CrashOfCall


class Part:
    """A part that notes what counts against its models."""

    def __init__(self, *, is_usable: bool = True) -> None:
        self.noted: list[CrashOfCall] = []
        self.runtime = SimpleNamespace(is_usable=is_usable, library=SimpleNamespace(path="/lib.so"))
        self.trials = SimpleNamespace(quarantine=SimpleNamespace(note=lambda crash, _: self.noted.append(crash)))


def counted(monkeypatch: pytest.MonkeyPatch, call: JsonObject | None, *, usable: bool = True, **facts: Any) -> Any:
    """Return what counts against language models and against RKNN's."""
    crash = {"at": "2026-09-21T14:13:20+00:00", "signal": "SIGSEGV", "end": "SIGSEGV", "stuck": False}
    crash |= {"out_of_memory": False, "call": call, **facts}
    language, vision = Part(is_usable=usable), Part(is_usable=usable)
    known = Crashes(last_crash(Store()))
    service: Any = SimpleNamespace(language=language, vision=vision, config=Config(), crashes=known)
    monkeypatch.setattr(crashes, "read", lambda reports: [crash])
    aftermath.take_over(service, 7)
    assert service.crashes.last is crash
    return language.noted, vision.noted


RUN = {"function": "rkllm_run", "model_path": "/m/a.rkllm"}


def test_a_crash_counts_against_the_model_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    language, vision = counted(monkeypatch, RUN)
    assert language == [CrashOfCall("rkllm_run", "/m/a.rkllm", 1_790_000_000.0, "SIGSEGV")]
    assert vision == []
    language, vision = counted(monkeypatch, {**RUN, "function": "rknn_run"})
    assert (language, [crash.function for crash in vision]) == ([], ["rknn_run"])


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ({"signal": "SIGKILL"}, False),
        ({"signal": "SIGTERM"}, False),
        ({"signal": "SIGKILL", "stuck": True}, True),
        ({"signal": "SIGKILL", "out_of_memory": True}, True),
        ({"signal": None, "end": "exit status 3"}, True),
    ],
)
def test_being_killed_from_outside_says_nothing_about_a_call(
    monkeypatch: pytest.MonkeyPatch, facts: JsonObject, counts: bool
) -> None:
    assert bool(counted(monkeypatch, RUN, **facts)[0]) is counts


@pytest.mark.parametrize("call", [None, {"function": "rknn_matmul_run", "model_path": None}])
def test_without_a_model_there_is_nothing_to_count(monkeypatch: pytest.MonkeyPatch, call: JsonObject | None) -> None:
    assert counted(monkeypatch, call) == ([], [])


def test_nor_without_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch, RUN, usable=False) == ([], [])
