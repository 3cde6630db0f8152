"""How much memory the load of an RKNN model asks for."""

from __future__ import annotations

import pytest

from rkllmd.machine.memory.guard import Demand
from rkllmd.vision import demand
from rkllmd.vision.objects import Context


@pytest.mark.parametrize(
    ("path", "size", "part", "asked"),
    [
        ("/a.rknn", 1000, 0, Demand("/a.rknn", 1000, 1000, True, "/a.rknn")),
        ("/a.rknn", 2**30, 0, Demand("/a.rknn", 2**30, 2**27, True, "/a.rknn")),
        ("/a.rknn", 1000, 10, Demand("/a.rknn", 10, 10, True, "")),
        ("", 1000, 0, Demand("a model in memory", 1000, 1000, True, "")),
    ],
)
def test_the_tensors_inside_are_guessed_by_the_weights(path: str, size: int, part: int, asked: Demand) -> None:
    assert demand.of(Context(path, size, 0), part) == asked
