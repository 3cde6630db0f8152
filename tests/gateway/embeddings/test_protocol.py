"""Which texts a client may send to be made vectors of."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from rkllmd.gateway.embeddings.protocol import MOST_TEXTS, WantedVectors, check_dimensions, take_texts
from rkllmd.gateway.fields import Fields, WrongField


def test_one_text_or_several() -> None:
    assert take_texts(Fields({"input": "a"}), "input") == ["a"]
    assert take_texts(Fields({"input": ["a", "b"]}), "input") == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "name", "says"),
    [
        (None, "input", "is missing"),
        ([], "input", "it has 0"),
        (["a"] * (MOST_TEXTS + 1), "input", "it has 2049"),
        ("", "input", "not empty"),
        (["a", ""], "input[1]", "not empty"),
        ({}, "input", "not empty"),
        ([1, 2], "input", "token ids"),
        ([[1, 2], [3]], "input", "check_embedding_ctx_length=False"),
    ],
)
def test_what_is_no_text_is_refused(given: Any, name: str, says: str) -> None:
    with pytest.raises(WrongField, match=says) as refused:
        take_texts(Fields({"input": given}), "input")
    assert refused.value.name == name


def test_a_model_has_its_own_number_of_dimensions() -> None:
    vector = array("f", [1.0, 0.0])
    check_dimensions(WantedVectors(None, ["a"], 2), vector)
    check_dimensions(WantedVectors(None, ["a"]), vector)
    with pytest.raises(WrongField, match="left out or 2"):
        check_dimensions(WantedVectors(None, ["a"], 3), vector)
