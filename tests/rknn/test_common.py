"""What the function modules share: enums and bit masks in JSON, who may have how many handles."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_core_mask, rknn_flag, rknn_tensor_type
from rkllmd.config.settings import Config
from rkllmd.errors import Cancelled, InvalidParams, PermissionDenied
from rknn import _common
from tests.vision.rooms import USER, Room, invocation

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


def test_a_connection_has_as_many_objects_as_it_may_beside_those_that_are_kept() -> None:
    room = Room()
    room.current.config = Config(max_handles_per_connection=3)
    room.context(owner=2)
    room.context(owner=1)
    room.matmul(owner=None)
    room.matmul(owner=1)
    _common.check_handles(room, invocation(client=1))
    room.memory(owner=1)
    with pytest.raises(PermissionDenied, match="This connection has 3") as caught:
        _common.check_handles(room, invocation(client=1))
    about = {"setting": "max_handles_per_connection", "limit": 3, "used": 3, "whose": "connection"}
    assert caught.value.data == about
    _common.check_handles(room, invocation(client=2))


def test_a_user_has_as_many_objects_as_it_may_and_others_find_room() -> None:
    room = Room()
    room.current.config = Config(max_handles=6, max_handles_per_user=4, operator_users=(USER + 2,))
    for client in (1, 2, None, None):
        room.memory(owner=client)
    theirs, operator = invocation(client=8), invocation(client=9)
    theirs.client.user, operator.client.user = USER + 1, USER + 2
    with pytest.raises(PermissionDenied, match="This user has 4") as caught:
        _common.check_handles(room, invocation(client=7))
    assert (caught.value.data["setting"], caught.value.data["whose"]) == ("max_handles_per_user", "user")
    _common.check_handles(room, theirs)
    for _ in range(2):
        room.memory(owner=8).user = USER + 1
    for call in (theirs, operator):
        with pytest.raises(PermissionDenied, match="All users together have 6"):
            _common.check_handles(room, call)


def test_a_memory_belongs_to_the_context_that_it_was_made_with() -> None:
    room = Room()
    own, other = room.context(), room.context()
    memory, free = room.memory(own), room.memory()
    _common.check_belongs(memory, own)
    _common.check_belongs(free, None)
    _common.check_belongs(free, other)
    for context, number in ((other, other.number), (None, None)):
        with pytest.raises(InvalidParams) as caught:
            _common.check_belongs(memory, context)
        assert (caught.value.data["path"], caught.value.data["limit"]) == ("$.mem", number)
