"""Rows of hidden states as one vector."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import pytest

from rkllmd.gateway.embeddings.pooling import vectors_of
from rkllmd.gateway.failures import Failure


def result(*rows: list[float]) -> dict[str, Any]:
    data = base64.b64encode(array("f", [number for row in rows for number in row]).tobytes()).decode()
    return {"last_hidden_layer": {"embd_size": 2, "num_tokens": len(rows), "hidden_states": {"data": data}}}


@pytest.mark.parametrize(
    ("pooling", "vector"),
    [("cls", [0.6, 0.8]), ("last", [1.0, 0.0]), (None, [1.0, 0.0]), ("mean", [0.96, 0.28])],
)
def test_rows_become_one_vector_of_length_one(pooling: str | None, vector: list[float]) -> None:
    [found] = vectors_of(result([3.0, 4.0], [16.2, 3.0], [4.8, 0.0]), pooling)
    assert found.tolist() == pytest.approx(vector)


def test_zeros_stay_zeros() -> None:
    assert vectors_of(result([0.0, 0.0]), "mean")[0].tolist() == [0.0, 0.0]


def test_pieces_of_one_input_are_one_vector_and_entries_of_a_batch_are_several() -> None:
    layers = [result(row)["last_hidden_layer"] for row in ([3.0, 4.0], [0.0, 2.0])]
    assert [found.tolist() for found in vectors_of({"last_hidden_layer": layers}, "last", 2)] == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0.0, 1.0],
    ]
    assert [found.tolist() for found in vectors_of({"last_hidden_layer": layers}, "last")] == [[0.0, 1.0]]


def test_what_is_no_vector_is_an_error() -> None:
    for found in (result([float("nan"), 1.0]), {"text": ""}):
        with pytest.raises(Failure):
            vectors_of(found, None)
