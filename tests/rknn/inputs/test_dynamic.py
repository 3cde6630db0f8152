"""What is said about the other shapes of an input whose data does not fit."""

from __future__ import annotations

import pytest

from rkllmd.abi.layouts.rknn import rknn_input_range
from rknn._dynamic import other_shapes
from tests.rknn.asked import Q, attr, model


def said(count: int | None, name: str = "vendor") -> str:
    runtime, context = model(attr(1, 8), name=name)
    if count is not None:
        found = rknn_input_range(shape_number=count, n_dims=2)
        for number in range(count):
            found.dyn_range[number][0], found.dyn_range[number][1] = number + 1, 8
        runtime.answers[Q.RKNN_QUERY_INPUT_DYNAMIC_RANGE, 0] = found
    return other_shapes(runtime, context, 0)


@pytest.mark.parametrize("name", ["vendor", "portable"])
def test_a_runtime_that_does_not_say_leaves_it_at_that(name: str) -> None:
    assert said(None, name) == ""


def test_an_input_of_one_shape_has_no_others() -> None:
    assert said(1) == ""


@pytest.mark.parametrize("count", [0, 1])
def test_the_portable_runtime_lists_none_for_a_graph_that_takes_any(count: int) -> None:
    assert said(count, "portable") == " If the model takes other sizes, set them first with rknn.set_input_shapes."


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (2, "[1, 8], [2, 8]: choose"),
        (4, "[1, 8], [2, 8], [3, 8], [4, 8]: choose"),
        (9, "[1, 8], [2, 8], [3, 8], [4, 8] and others: choose"),
    ],
)
def test_a_few_shapes_are_listed(count: int, listed: str) -> None:
    assert said(count) == f" Its shapes are {listed} one with rknn.set_input_shapes first."
