"""How a model is loaded has no effect; how long it stays has one, where that is no time."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.ollama import memory


@pytest.mark.parametrize(
    ("keep_alive", "leaves"),
    [(0, True), (0.0, True), ("0", True), ("0s", True), ("00m", True), (None, False), (-1, False), ("0.5s", False)],
)
def test_no_time_means_that_it_leaves(keep_alive: Any, *, leaves: bool) -> None:
    fields = Fields({"keep_alive": keep_alive})
    assert memory.take_leaves(fields) is leaves
    fields.end()


def test_other_options_are_left_over() -> None:
    options = Fields({"num_ctx": 8, "num_gpu": 1, "top_k": 1}, "options")
    memory.take_loading(options)
    with pytest.raises(WrongField, match=r"options\.top_k"):
        options.end()
