"""What a call refers to beside its JSON: which structs have to wait for the worker thread is seen in the JSON."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls.binding.attachments import Attachments, are_named_in, span_of
from rkllmd.errors import InvalidParams
from rkllmd.wire.descriptors import Descriptors


@pytest.mark.parametrize(
    "struct",
    [
        {"embed_input": {"embed": {"fd": 0, "shape": [1, 2]}}},
        {"multimodal_input": {"prompt": "<image>", "image_embed": {"mem": 3, "offset": 4, "size": 8}}},
        [{"prompt": "Hi"}, {"embed_input": {"embed": {"fd": 1}}}],
    ],
)
def test_a_tensor_by_descriptor_or_memory_is_seen(struct: Any) -> None:
    assert are_named_in(struct)


@pytest.mark.parametrize(
    "struct",
    [
        {},
        {"prompt": "fd"},
        {"embed_input": {"embed": [0.5, 0.25]}},
        {"embed_input": {"embed": {"data": "AAAA", "dtype": "float32"}}},
        [{"prompt": "Hi"}, {"prompt": "mem"}],
        # Refused at once, since no tensor looks like this.
        {"embed_input": {"embed": {"fd": 0, "data": "AAAA"}}},
        {"embed_input": {"embed": {"fd": 0, "mem": 1}}},
        {"embed_input": {"embed": {"fd": 0, "unknown": 1}}},
        {"fd": 0},
    ],
)
def test_what_has_no_such_tensor_need_not_wait(struct: Any) -> None:
    assert not are_named_in(struct)


def test_a_descriptor_is_named_by_its_place() -> None:
    attachments = Attachments(Descriptors([7, 9]))
    assert attachments.descriptor({"fd": 1}, "$.buf") == 9
    for index in (2, -1, True, "0"):
        with pytest.raises(InvalidParams) as error:
            attachments.descriptor({"fd": index}, "$.buf")
        assert error.value.data["path"] == "$.buf.fd"


def test_without_memories_no_handle_is_one() -> None:
    with pytest.raises(InvalidParams):
        Attachments().memory(1, "$.buf")


@pytest.mark.parametrize(
    ("value", "expected"), [({}, (0, 10)), ({"offset": 4}, (4, 6)), ({"offset": 2, "size": 3}, (2, 3))]
)
def test_a_part_is_all_of_the_rest_by_default(value: dict[str, Any], expected: tuple[int, int]) -> None:
    assert span_of(value, 10, "$.buf") == expected


@pytest.mark.parametrize(
    "value", [{"offset": 11}, {"size": 11}, {"offset": -1}, {"size": 1.5}, {"offset": 8, "size": 3}]
)
def test_a_part_lies_within_what_there_is(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        span_of(value, 10, "$.buf")
