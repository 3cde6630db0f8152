"""A model is loaded again after a crash; on real daemons: tests/server/lifetime/test_models_after_a_crash.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.errors import InvalidParams, RpcError
from rkllmd.language.models.bringing_back import Returning
from rkllmd.language.runs import returning
from rkllmd.language.runs.returning import load_again


class Room:
    """A language room that notes what happens, and fails as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.done: list[str] = []
        self.failure = failure
        self.remembered = SimpleNamespace(keep=lambda model: self.done.append(f"remember {model.is_asleep}"))
        monkeypatch.setattr(returning, "wake", self._wake)
        monkeypatch.setattr(returning, "_load_prompt_cache", self._load)

    def _wake(self, _: object, model: Any) -> None:
        self.done.append("wake")
        model.is_asleep = False

    def _load(self, *_: object) -> None:
        if self.failure is not None:
            raise self.failure
        self.done.append("cache")


def loaded(room: Room, *, is_alive: bool = True, is_asleep: bool = True, cache: Any = None) -> list[str]:
    model: Any = SimpleNamespace(number=3, is_alive=is_alive, is_asleep=is_asleep)
    language: Any = room
    load_again(language, Returning(model, True, cache))
    return room.done


def test_that_it_sleeps_is_written_before_its_load_may_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(Room(monkeypatch)) == ["remember True", "wake"]


def test_its_prompt_cache_is_loaded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ["remember True", "wake", "cache", "remember False"]
    assert loaded(Room(monkeypatch), cache={"path": "/c"}) == expected


@pytest.mark.parametrize(
    ("is_alive", "is_asleep"),
    [(False, False), (True, False)],
)
def test_one_that_somebody_else_has_loaded_or_dropped_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, is_alive: bool, is_asleep: bool
) -> None:
    assert loaded(Room(monkeypatch), is_alive=is_alive, is_asleep=is_asleep) == []


@pytest.mark.parametrize("failure", [InvalidParams("It is gone."), OSError("x"), KeyError("owner"), TypeError()])
def test_without_its_prompt_cache_it_serves_too(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    with capture_logs() as logs:
        assert loaded(Room(monkeypatch, failure), cache={}) == ["remember True", "wake"]
    (line,) = logs
    assert (line["event"], line["handle"]) == ("prompt_cache_not_brought_back", 3)
    assert isinstance(failure, RpcError) == isinstance(line["reason"], dict)
