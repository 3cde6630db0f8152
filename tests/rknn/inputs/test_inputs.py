"""What an input's bytes are taken for where the client does not say it, and what is refused by its place."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from rkllmd.calls.binding.attachments import Attachments
from rkllmd.errors import InvalidParams
from rknn._inputs import Item, data_path, set_inputs
from tests.rknn.asked import F, Q, T, attr, model
from tests.rknn.board import b64

NHWC: Any = {"fmt": F.RKNN_TENSOR_NHWC}
INT8: Any = {"kind": T.RKNN_TENSOR_INT8}


def given(json: Any, *inputs: Any, name: str = "vendor") -> list[dict[str, Any]]:
    """Return what the runtime gets for a JSON, or for several."""
    runtime, context = model(*inputs, name=name)
    many = json if isinstance(json, list) else [json]
    items = [Item(item, f"$.inputs[{n}]", data_path(item, f"$.inputs[{n}]")) for n, item in enumerate(many)]
    set_inputs(runtime, context, items, "$.inputs", Attachments())
    assert runtime.called == ["rknn_inputs_set"]
    return runtime.inputs  # type: ignore[no-any-return]


def refused(json: Any, *inputs: Any, name: str = "vendor") -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        given(json, *inputs, name=name)
    return caught.value


@pytest.mark.parametrize(("json", "path"), [({"buf": 1}, "$.x.buf"), ({"data": 1}, "$.x.data"), ({}, "$.x.buf")])
def test_where_the_data_stands(json: Any, path: str) -> None:
    assert data_path(json, "$.x") == path


@pytest.mark.parametrize(
    ("tensor", "data", "kind"),
    [
        (attr(4), bytes(4), T.RKNN_TENSOR_UINT8),
        (attr(4), bytes(16), T.RKNN_TENSOR_FLOAT32),
        (attr(4, kind=T.RKNN_TENSOR_FLOAT16), bytes(8), T.RKNN_TENSOR_FLOAT16),
        (attr(4, **INT8), bytes(4), T.RKNN_TENSOR_UINT8),
        (attr(4, **INT8), bytes(16), T.RKNN_TENSOR_FLOAT32),
        (attr(4, kind=T.RKNN_TENSOR_INT64), bytes(32), T.RKNN_TENSOR_INT64),
        (attr(4, kind=T.RKNN_TENSOR_INT64), bytes(16), T.RKNN_TENSOR_FLOAT32),
        (attr(4, kind=T.RKNN_TENSOR_BOOL), bytes(4), T.RKNN_TENSOR_BOOL),
    ],
)
def test_bytes_are_what_their_number_allows(tensor: Any, data: bytes, kind: int) -> None:
    (found,) = given({"buf": b64(data)}, tensor)
    assert (found["bytes"], found["type"]) == (data, kind)


@pytest.mark.parametrize(
    ("tensor", "numbers", "kind", "data"),
    [
        (attr(2), [1, 2], T.RKNN_TENSOR_FLOAT32, struct.pack("<2f", 1, 2)),
        (attr(2, **INT8), [1, 2], T.RKNN_TENSOR_INT8, b"\1\2"),
        # Real numbers, which the runtime quantises.
        (attr(2, scale=0.5, **INT8), [0.5, 1], T.RKNN_TENSOR_FLOAT32, struct.pack("<2f", 0.5, 1)),
    ],
)
def test_json_numbers_are_of_the_inputs_own_type_if_that_has_whole_numbers(
    tensor: Any, numbers: Any, kind: int, data: bytes
) -> None:
    (found,) = given({"buf": numbers}, tensor)
    assert (found["type"], found["bytes"]) == (kind, data)


def test_what_the_client_says_counts() -> None:
    said = {
        "buf": {"data": b64(bytes(4)), "dtype": "int8"},
        "type": "RKNN_TENSOR_INT8",
        "fmt": "RKNN_TENSOR_NCHW",
        "size": 4,
    }
    (found,) = given(said, attr(1, 2, 2, 1, **NHWC))
    assert (found["type"], found["fmt"]) == (T.RKNN_TENSOR_INT8, F.RKNN_TENSOR_NCHW)
    (own,) = given({"buf": b64(bytes(4))}, attr(1, 2, 2, 1, **NHWC))
    assert own["fmt"] == F.RKNN_TENSOR_NHWC


def test_inputs_may_come_in_any_order() -> None:
    first, second = given([{"index": 1, "buf": [1, 2]}, {"index": 0, "buf": [3]}], attr(1), attr(2, index=1))
    assert [(item["index"], len(item["bytes"])) for item in (first, second)] == [(1, 8), (0, 4)]


@pytest.mark.parametrize(
    ("json", "path", "keyword"),
    [
        ([{"buf": [1]}, {"buf": [1]}, {"buf": [1]}], "$.inputs", "maxItems"),
        ([{"buf": [1]}, {"index": 0, "buf": [1]}], "$.inputs", "uniqueItems"),
        ({"index": 2, "buf": [1]}, "$.inputs[0].index", "maximum"),
        ({"buf": [1], "data": [1]}, "$.inputs[0].data", "oneOf"),
        ({}, "$.inputs[0].buf", "required"),
        ({"data": None}, "$.inputs[0].data", "required"),
        ({"buf": {"data": b64(bytes(4)), "dtype": "int8"}, "type": "RKNN_TENSOR_UINT8"}, "$.inputs[0].type", "const"),
        ({"buf": [1], "size": 5}, "$.inputs[0].size", "const"),
        ({"buf": b64(bytes(3))}, "$.inputs[0].buf", "shape"),
        ({"data": [1, 2]}, "$.inputs[0].data", "shape"),
    ],
)
def test_what_is_wrong_is_said_by_its_place(json: Any, path: str, keyword: str) -> None:
    error = refused(json, attr(1), attr(1, index=1))
    assert (error.data["path"], error.data["keyword"]) == (path, keyword)


def test_data_of_another_size_comes_with_all_sizes_and_what_to_do() -> None:
    error = refused({"buf": b64(bytes(3))}, attr(1, 2, 2, 1, **INT8), name="portable")
    assert error.data["limit"] == {"uint8": 4, "int8": 4, "float32": 16}
    assert "4 bytes of uint8 or 4 bytes of int8 or 16 bytes of float32" in error.message
    assert "rknn.set_input_shapes" not in error.message, "the runtime says nothing of other shapes"


@pytest.mark.parametrize(
    ("fmt", "shape", "fits"),
    [
        (None, [1, 2, 3, 4], True),
        (None, [2, 3, 4], True),
        (None, [24], True),
        (None, [2, 12], True),
        (None, [1, 4, 2, 3], False),
        ("RKNN_TENSOR_NCHW", [1, 4, 2, 3], True),
        ("RKNN_TENSOR_NCHW", [1, 2, 3, 4], False),
    ],
)
def test_a_shape_in_another_order_would_be_another_picture(fmt: str | None, shape: list[int], fits: bool) -> None:
    json = {"buf": {"data": b64(bytes(24)), "dtype": "uint8", "shape": shape}, **({"fmt": fmt} if fmt else {})}
    picture = attr(1, 2, 3, 4, kind=T.RKNN_TENSOR_UINT8, **NHWC)
    if fits:
        assert given(json, picture)
        return
    error = refused(json, picture)
    assert (error.data["path"], error.data["keyword"]) == ("$.inputs[0].buf.shape", "shape")
    assert "reorder it, or say which fmt it has" in error.message


@pytest.mark.parametrize(("size", "fits"), [(24, True), (48, True), (64, True), (32, False)])
def test_what_passes_through_has_the_size_of_one_of_its_layouts(size: int, fits: bool) -> None:
    runtime, context = model(attr(24, **INT8, size_with_stride=48))
    context.answers[Q.RKNN_QUERY_NATIVE_INPUT_ATTR, 0] = attr(64, **INT8)
    item = Item({"buf": b64(bytes(size)), "pass_through": True}, "$.x", "$.x.buf")
    if fits:
        set_inputs(runtime, context, [item], "$.x", Attachments())
        assert (runtime.inputs[0]["pass_through"], runtime.inputs[0]["type"]) == (True, T.RKNN_TENSOR_INT8)
        return
    with pytest.raises(InvalidParams) as caught:
        set_inputs(runtime, context, [item], "$.x", Attachments())
    assert caught.value.data["limit"] == [24, 48, 64]


def test_a_number_that_the_runtime_would_make_infinite_is_refused() -> None:
    """It is given as float32, of which the runtime makes float16."""
    error = refused({"buf": [1, 70_000]}, attr(2, kind=T.RKNN_TENSOR_FLOAT16))
    assert (error.data["path"], error.data["limit"]) == ("$.inputs[0].buf[1]", "float16")
