"""The mirrored structs by name, and what their fields are."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import pytest

from rkllmd.abi.json.structs import INT_RANGES, fields_of, is_pointer, members_of, struct_types
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.abi.layouts.rknn import rknn_tensor_attr


def test_a_struct_has_a_mirror_for_each_layout_that_has_it() -> None:
    assert struct_types("RKLLMParam") == [layout["RKLLMParam"] for layout in LAYOUTS.values()]
    assert struct_types("RKLLMSamplingParam") == [LAYOUTS[name]["RKLLMSamplingParam"] for name in ("1.3", "1.3.1")]
    assert struct_types("rknn_tensor_attr") == [rknn_tensor_attr]
    with pytest.raises(KeyError):
        struct_types("Struct")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_members_of_an_unnamed_union_are_fields(layout: str) -> None:
    names = [*fields_of(LAYOUTS[layout]["RKLLMInput"])]
    assert names[:3] == ["role", "enable_thinking", "input_type"]
    assert {*names[3:]} == {"prompt_input", "embed_input", "token_input", "multimodal_input"}


def test_ranges_are_those_of_c() -> None:
    ranges: dict[Any, tuple[int, int]] = {**INT_RANGES}
    for kind, (low, high) in ranges.items():
        assert (kind(low).value, kind(high).value) == (low, high)
        assert kind(high + 1).value == low


def test_pointers_and_members() -> None:
    class Colour(IntEnum):
        RED = 1
        COLOUR_MAX = 2

    assert is_pointer(ctypes.POINTER(ctypes.c_int))
    assert not is_pointer(ctypes.c_char_p)
    assert members_of(Colour) == {"RED": 1}
