"""What is learned of a model's tensors and when it is asked again, and what a client may say about one."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.abi.layouts.rknn import rknn_input_output_num, rknn_mem_size, rknn_tensor_attr
from rkllmd.errors import InvalidParams, NotSupported, RuntimeFailure
from rkllmd.vision.objects import Context
from rknn import _attributes
from rknn._attributes import MEMORY_FIELDS, SHAPE_FIELDS, attr_of, bytes_needed
from tests.rknn.asked import F, Q, T, attr, model
from tests.vision.rooms import Room

NATIVE = {"fmt": "RKNN_TENSOR_NC1HWC2"}


def place(caught: pytest.ExceptionInfo[InvalidParams]) -> tuple[Any, Any]:
    return caught.value.data["path"], caught.value.data.get("limit")


# -- what is learned ---------------------------------------------------------------------------------------------------


def test_a_new_context_knows_its_tensors() -> None:
    runtime, loaded = model(attr(2, 3), outputs=[attr(2, 5, name="y")])
    runtime.answers[Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR, 0] = attr(1, 1, name="native")
    context = Context("/m.rknn", 10, 0)
    _attributes.learn(runtime, context)
    assert [list(item.dims[:2]) for item in (*context.inputs, *context.outputs)] == [[2, 3], [2, 5]]
    assert context.answers[Q.RKNN_QUERY_CURRENT_INPUT_ATTR, 0] is context.inputs[0]
    assert (Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR, 0) in context.answers
    assert (Q.RKNN_QUERY_NATIVE_INPUT_ATTR, 0) not in context.answers, "it is asked again when a client wants to know"
    assert loaded.answers == {}


def test_numbers_that_no_model_has_mean_another_layout() -> None:
    runtime, context = model()
    runtime.answers[Q.RKNN_QUERY_IN_OUT_NUM, 0] = rknn_input_output_num(1, 1025)
    with pytest.raises(RuntimeFailure, match="rknn_query names 1 inputs and 1025 outputs"):
        _attributes.learn(runtime, context)


def test_a_tensor_that_the_runtime_does_not_describe_ends_the_load() -> None:
    runtime, context = model()
    runtime.answers[Q.RKNN_QUERY_IN_OUT_NUM, 0] = rknn_input_output_num(1, 0)
    with pytest.raises(RuntimeFailure):
        _attributes.learn(runtime, context)


def test_after_new_shapes_what_was_native_before_is_forgotten() -> None:
    runtime, context = model(attr(2, 3), outputs=[attr(2, 5, name="y")])
    context.answers[Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR, 0] = attr(9)
    runtime.answers[Q.RKNN_QUERY_CURRENT_INPUT_ATTR, 0] = attr(4, 3)
    _attributes.learn_current(runtime, context)
    assert _attributes.shape_of(context.inputs[0]) == [4, 3]
    assert context.answers[Q.RKNN_QUERY_CURRENT_INPUT_ATTR, 0] is context.inputs[0]
    assert (Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR, 0) not in context.answers


def test_after_a_run_only_shapes_that_may_follow_from_values_are_asked_for_and_once() -> None:
    for name, asks in (("vendor", 0), ("portable", 1)):
        runtime, context = model(outputs=[attr(3, name="y")], name=name)
        context.run_count = 1
        context.answers[Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, 0] = before = attr(3)
        _attributes.learn_run(runtime, context)
        _attributes.learn_run(runtime, context)
        assert len(runtime.asked) == asks
        assert context.answers[Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, 0] is before, "the shape is as before"


def test_a_shape_that_a_run_has_changed_is_the_current_one() -> None:
    runtime, context = model(outputs=[attr(3, name="y")], name="portable")
    context.run_count = 1
    context.answers[Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, 0] = attr(3)
    runtime.answers[Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, 0] = attr(7, name="y")
    _attributes.learn_run(runtime, context)
    assert _attributes.shape_of(context.outputs[0]) == [7]
    assert (Q.RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR, 0) not in context.answers


def test_a_question_without_a_struct_is_not_asked() -> None:
    runtime, context = model()
    with pytest.raises(NotSupported, match="RKNN_QUERY_DEVICE_MEM_INFO"):
        _attributes.ask(runtime, context, Q.RKNN_QUERY_DEVICE_MEM_INFO)
    assert runtime.asked == []


# -- what a client says of a tensor ------------------------------------------------------------------------------------


def context() -> Any:
    quantised = attr(1, 4, 4, 3, kind=T.RKNN_TENSOR_INT8, fmt=F.RKNN_TENSOR_NHWC, name="image", scale=0.5)
    return model(quantised, attr(2, index=1, name="both"), outputs=[attr(5, name="both"), attr(6, index=1, name="y")])[
        1
    ]


@pytest.mark.parametrize(
    ("json", "output", "name", "elements"),
    [
        ({}, None, "image", 48),
        ({"index": 1}, None, "both", 2),
        ({"index": 1}, True, "y", 6),
        ({"name": "both"}, None, "both", 2),
        ({"name": "both"}, True, "both", 5),
        ({"name": "y"}, None, "y", 6),
    ],
)
def test_a_tensor_is_meant_by_its_name_or_its_place(
    json: dict[str, Any], output: bool | None, name: str, elements: int
) -> None:
    found = attr_of(context(), json, "$.attr", MEMORY_FIELDS, output=output)
    assert (found.name.decode(), found.n_elems) == (name, elements)


def test_what_may_be_set_is_and_the_models_own_stays() -> None:
    loaded = context()
    given = {"type": "RKNN_TENSOR_UINT8", "dims": [1, 4, 4, 3], "fmt": 1, "scale": 0.5, "index": 0}
    found = attr_of(loaded, given, "$.attr", MEMORY_FIELDS)
    assert (found.type, loaded.inputs[0].type) == (T.RKNN_TENSOR_UINT8, T.RKNN_TENSOR_INT8)
    reshaped = attr_of(loaded, {"dims": [1, 8, 8, 3]}, "$.attr", SHAPE_FIELDS)
    assert _attributes.shape_of(reshaped) == [1, 8, 8, 3]


@pytest.mark.parametrize(
    ("json", "path", "limit"),
    [
        ({"dims": [1, 8, 8, 3]}, "$.attr.dims", [1, 4, 4, 3]),
        ({"scale": 0.25}, "$.attr.scale", 0.5),
        ({"qnt_type": "RKNN_TENSOR_QNT_NONE"}, "$.attr.qnt_type", "RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC"),
        ({"index": 2}, "$.attr.index", 1),
        ({"index": -1}, "$.attr.index", 1),
        ({"name": "z"}, "$.attr.name", ["image", "both", "both", "y"]),
        ({**NATIVE}, "$.attr.fmt", F.RKNN_TENSOR_NHWC),
    ],
)
def test_what_c_sizes_its_buffers_by_can_not_be_changed(json: dict[str, Any], path: str, limit: Any) -> None:
    with pytest.raises(InvalidParams) as caught:
        attr_of(context(), json, "$.attr", MEMORY_FIELDS)
    assert place(caught) == (path, limit)


def test_the_native_layout_is_that_of_the_shapes_that_are_set_now() -> None:
    loaded = context()
    first, now, of_output = attr(16), attr(32), attr(64)
    loaded.answers[Q.RKNN_QUERY_NATIVE_INPUT_ATTR, 0] = first
    assert _attributes.native(loaded, loaded.inputs[0], NATIVE) is first
    loaded.answers[Q.RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR, 0] = now
    assert _attributes.native(loaded, loaded.inputs[0], {"fmt": int(F.RKNN_TENSOR_NC1HWC2)}) is now
    loaded.answers[Q.RKNN_QUERY_NATIVE_OUTPUT_ATTR, 0] = of_output
    assert _attributes.native(loaded, loaded.outputs[0], NATIVE) is of_output
    assert _attributes.native(loaded, loaded.inputs[0], {"fmt": "RKNN_TENSOR_NHWC"}) is loaded.inputs[0]
    assert _attributes.as_now(loaded, attr(1, fmt=F.RKNN_TENSOR_NC1HWC2), output=False) is now
    assert _attributes.as_now(loaded, attr(1, index=1), output=True) is loaded.outputs[1]


@pytest.mark.parametrize(("name", "expected"), [("image", False), ("both", False), ("y", True)])
def test_what_is_an_output(name: str, expected: bool) -> None:
    assert _attributes.is_output(context(), attr(1, name=name)) is expected


# -- memory ------------------------------------------------------------------------------------------------------------

PICTURE: Any = {"kind": T.RKNN_TENSOR_INT8, "fmt": F.RKNN_TENSOR_NHWC}


@pytest.mark.parametrize(
    ("as_given", "known", "needed"),
    [
        (attr(10, kind=T.RKNN_TENSOR_INT8), attr(10, kind=T.RKNN_TENSOR_INT8), 10),
        (attr(10), attr(10, kind=T.RKNN_TENSOR_INT8), 40),
        (attr(10, kind=T.RKNN_TENSOR_INT8), attr(10), 40),
        # Padding is the layout's: of four bytes for each element twice as many.
        (attr(10), attr(10, kind=T.RKNN_TENSOR_INT8, size_with_stride=20), 80),
        (attr(1, 4, 4, 3, h_stride=8, **PICTURE), attr(1, 4, 4, 3, **PICTURE), 96),
        (attr(1, 4, 4, 3, h_stride=2, **PICTURE), attr(1, 4, 4, 3, **PICTURE), 48),
        (attr(1, 3, 4, 5, h_stride=8), attr(1, 3, 4, 5, fmt=F.RKNN_TENSOR_NCHW), 480),
        (attr(0), attr(0), 0),
    ],
)
def test_how_many_bytes_c_may_touch(as_given: rknn_tensor_attr, known: rknn_tensor_attr, needed: int) -> None:
    assert bytes_needed(as_given, known) == needed


def test_a_stride_of_rows_needs_rows() -> None:
    with pytest.raises(InvalidParams) as caught:
        bytes_needed(attr(10, h_stride=2), attr(10))
    assert place(caught) == ("$.attr.h_stride", 0)


def test_a_memory_for_weights_has_the_size_that_the_runtime_says() -> None:
    runtime, loaded = model()
    runtime.answers[Q.RKNN_QUERY_MEM_SIZE, 0] = rknn_mem_size(total_weight_size=64)
    memory = Room().memory()
    _attributes.use_outside(runtime, loaded, memory, "rknn_set_weight_mem", "total_weight_size")
    assert (runtime.called, loaded.outside) == (["rknn_set_weight_mem"], [memory])
    memory.size = 63
    with pytest.raises(InvalidParams) as caught:
        _attributes.use_outside(runtime, loaded, memory, "rknn_set_weight_mem", "total_weight_size")
    assert place(caught) == ("$.mem", 64)
    assert runtime.called == ["rknn_set_weight_mem"]
