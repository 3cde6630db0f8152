"""What the function modules share: enums and bit masks in JSON, who may have how many handles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_core_mask, rknn_flag, rknn_tensor_type
from rkllmd.errors import Cancelled, InvalidParams, PermissionDenied
from rknn import _common
from tests.vision.rooms import Room, invocation

FLAGS: Any = rknn_flag.__members__


@pytest.mark.parametrize(
    ("value", "number"),
    [("RKNN_NPU_CORE_0_1", 3), (3, 3), ("RKNN_NPU_CORE_0_1_2", 7), ("RKNN_NPU_CORE_9", None), (5, None)],
)
def test_an_enum_is_a_number_or_a_c_name(value: Any, number: int | None) -> None:
    schema = _common.enum_schema(rknn_core_mask, "which cores")
    assert schema["description"] == "which cores"
    assert jsonschema.Draft7Validator(schema).is_valid(value) is (number is not None)
    if number is not None:
        assert _common.member_of(rknn_core_mask, value) == number
    assert "description" not in _common.enum_schema(rknn_core_mask)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (6, 6),
        ("RKNN_FLAG_COLLECT_PERF_MASK", 8),
        (["RKNN_FLAG_PRIOR_MEDIUM", "RKNN_FLAG_COLLECT_PERF_MASK"], 9),
        ([], 0),
        (-1, None),
        (2**32, None),
        ("RKNN_FLAG_X", None),
        ([8], None),
    ],
)
def test_a_bit_mask_is_a_number_a_c_name_or_several(value: Any, number: int | None) -> None:
    schema = _common.flags_schema(FLAGS, "what the context is for")
    assert jsonschema.Draft7Validator(schema).is_valid(value) is (number is not None)
    if number is not None:
        assert _common.mask_of(FLAGS, value) == number


def test_types_have_names_on_the_wire() -> None:
    for kind in rknn_tensor_type:
        if not kind.name.endswith("_MAX"):
            assert _common.type_of(_common.dtype_of(kind)) == kind
    assert _common.dtype_of(rknn_tensor_type.RKNN_TENSOR_FLOAT16) == "float16"


def test_what_is_made_for_nobody_gets_no_handle() -> None:
    call = invocation()
    _common.check_wanted(Room(), call)
    assert call.job is not None
    call.job.cancelled = True
    with pytest.raises(Cancelled):
        _common.check_wanted(Room(), call)


def test_a_client_has_as_many_objects_as_it_may_and_those_that_are_kept_count_for_all() -> None:
    room = Room()
    room.current.config = SimpleNamespace(max_handles_per_connection=3)  # type: ignore[assignment]
    room.context(owner=2)
    room.context(owner=1)
    room.matmul(owner=None)
    _common.check_handles(room, invocation(client=1))
    room.memory(owner=1)
    with pytest.raises(PermissionDenied, match="max_handles_per_connection") as caught:
        _common.check_handles(room, invocation(client=1))
    assert caught.value.data["limit"] == 3
    _common.check_handles(room, invocation(client=2))


def test_a_memory_belongs_to_the_context_that_it_was_made_with() -> None:
    room = Room()
    own, other = room.context(), room.context()
    memory, free = room.memory(own), room.memory()
    _common.check_belongs(memory, own)
    _common.check_belongs(free, None)
    for context, number in ((other, other.number), (None, None)):
        with pytest.raises(InvalidParams) as caught:
            _common.check_belongs(memory, context)
        assert (caught.value.data["path"], caught.value.data["limit"]) == ("$.mem", number)
