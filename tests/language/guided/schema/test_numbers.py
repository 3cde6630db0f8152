"""Numbers of a schema that readers round: what is refused, and how open ends are closed."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.schema.numbers import check, check_divisor, without_open_ends


@pytest.mark.parametrize("value", [2**53 + 1, -1e300, True, "1", None])
def test_what_is_no_number_or_is_rounded_is_refused(value: Any) -> None:
    with pytest.raises(InvalidParams) as caught:
        check(value, "$.format.minimum")
    assert caught.value.data["path"] == "$.format.minimum"


@pytest.mark.parametrize("value", [0.1, 0, -3, 1001])
def test_only_whole_numbers_divide(value: Any) -> None:
    with pytest.raises(InvalidParams):
        check_divisor(value, "$.format.multipleOf")
    assert check_divisor(7.0, "$") == 7


def test_open_ends_become_numbers_that_nobody_takes_for_them() -> None:
    schema: dict[str, Any] = {"exclusiveMinimum": 0, "exclusiveMaximum": 1, "minimum": -5}
    without_open_ends(schema, "$")
    assert 0 < schema["minimum"] < 1e-6
    assert 1 - 1e-6 < schema["maximum"] < 1
    assert set(schema) == {"minimum", "maximum"}


@pytest.mark.parametrize("types", ["integer", ["integer", "null"]])
def test_whole_numbers_are_told_apart_anyway(types: Any) -> None:
    schema: dict[str, Any] = {"type": types, "exclusiveMinimum": 0}
    without_open_ends(schema, "$")
    assert schema["exclusiveMinimum"] == 0


def test_nothing_between_two_open_ends_is_refused() -> None:
    with pytest.raises(InvalidParams):
        without_open_ends({"exclusiveMinimum": 1, "exclusiveMaximum": 1 + 1e-10}, "$.format")
