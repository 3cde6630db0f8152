"""How a model is loaded has no effect; how long it stays has one, where that is no time."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.ollama import memory


@pytest.mark.parametrize(
    ("keep_alive", "leaves"),
    [
        *[(given, True) for given in (0, 0.0, "0", "0s", "00m", "-0", "0.0s", "0h0m0s")],
        *[(given, False) for given in (None, "", -1, 300, 5.5, "-1", "-1m", "300", "5m", "1h30m", "0.5s", "1.5h")],
    ],
)
def test_no_time_means_that_it_leaves(keep_alive: Any, *, leaves: bool) -> None:
    fields = Fields({"keep_alive": keep_alive})
    assert memory.take_leaves(fields) is leaves
    fields.end()


@pytest.mark.parametrize("keep_alive", [True, False, [], {}, "5x", "m", "-", "forever", "1h x", "1" * 100_000 + "x"])
def test_what_is_no_duration_is_refused(keep_alive: Any) -> None:
    with pytest.raises(WrongField, match=r"^keep_alive must be a number of seconds, or a duration such as 5m\.$"):
        memory.take_leaves(Fields({"keep_alive": keep_alive}))


def test_other_options_are_left_over() -> None:
    options = Fields({"num_ctx": 8, "num_gpu": 1, "vocab_only": False, "top_k": 1}, "options")
    memory.take_loading(options)
    with pytest.raises(WrongField, match=r"options\.top_k"):
        options.end()
