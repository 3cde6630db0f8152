"""How tokens are chosen, as the daemon takes it."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway import sampling
from rkllmd.gateway.fields import Fields, WrongField


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({}, {}),
        (
            {"temperature": 0.5, "top_p": 1, "top_k": 3},
            {"sampling_params": {"temperature": 0.5, "top_p": 1, "top_k": 3}},
        ),
        ({"temperature": 0, "top_k": 40}, {"sampling_params": {"top_k": 1}}),
        ({"presence_penalty": 0, "frequency_penalty": 0.0}, {}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": -1}, {}),
        ({"seed": 2**32}, {"seed": 1}),
        ({"seed": -(2**63)}, {"seed": -(2**63) % (2**32 - 1)}),
        ({"min_p": 0, "typical_p": 1.0}, {}),
    ],
)
def test_fields_become_sampling(given: dict[str, Any], params: dict[str, Any]) -> None:
    fields = Fields(given)
    assert sampling.take(fields) == params
    fields.end()


def test_what_the_last_place_says_counts() -> None:
    first, last = Fields({"temperature": 0, "top_p": 0.5, "seed": 1}), Fields({"temperature": 0.7, "seed": 2})
    assert sampling.take(first, last) == {"sampling_params": {"temperature": 0.7, "top_p": 0.5}, "seed": 2}
    first.end()
    last.end()


def test_what_the_runtime_can_not_do_is_refused() -> None:
    with pytest.raises(WrongField, match=r"^min_p "):
        sampling.take(Fields({"min_p": 0.1}))
