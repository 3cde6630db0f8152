"""What the language methods share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.language.parts import Language, loaded


def test_only_what_is_awake_takes_memory() -> None:
    nothing: Any = None
    first: Any = "the configuration in force"
    second: Any = "another one"
    current: Any = SimpleNamespace(config=first)
    language = Language(current, nothing, nothing, nothing, nothing, nothing, nothing)
    models: list[Any] = [
        SimpleNamespace(number=number, path=f"/m{number}", size_bytes=number * 10, is_asleep=number == 2)
        for number in (1, 2, 3)
    ]
    for model in models:
        language.models.add(model)
    assert loaded(language.models) == [
        {"handle": 1, "model_path": "/m1", "size_bytes": 10},
        {"handle": 3, "model_path": "/m3", "size_bytes": 30},
    ]
    assert language.config is first
    current.config = second
    assert language.config is second, "a reload is seen at once"
