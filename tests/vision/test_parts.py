"""What the RKNN methods share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.vision.parts import loaded, rknn_contexts


def test_each_context_takes_memory() -> None:
    contexts = rknn_contexts()
    made: Any = SimpleNamespace(number=4, path="/m.rknn", size_bytes=10)
    assert loaded(contexts) == []
    contexts.add(made)
    assert loaded(contexts) == [{"context": 4, "model_path": "/m.rknn", "size_bytes": 10}]
