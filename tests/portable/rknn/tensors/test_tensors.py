"""How tensors are shown, and how their values come in and go out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_tensor_qnt_type, rknn_tensor_type
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.tensors import layouts
from rkllmd.portable.rknn.tensors.elements import Quantisation
from rkllmd.portable.rknn.tensors.tensors import Form, Tensor, describe, form_of, give_out, take_in

FLOAT32, INT8 = rknn_tensor_type.RKNN_TENSOR_FLOAT32, rknn_tensor_type.RKNN_TENSOR_INT8
INT4 = rknn_tensor_type.RKNN_TENSOR_INT4
PICTURE = (1, 3, 2, 5)


def tensor(name: str = "x", kind: int = FLOAT32, quantisation: Quantisation | None = None) -> Tensor:
    return Tensor(1, name, kind, PICTURE, quantisation)


@pytest.mark.parametrize(("name", "size"), [("x", 1), ("x" * 300, 255), ("ä" * 200, 254)])
def test_a_name_is_cut_between_characters(name: str, size: int) -> None:
    assert len(tensor(name).c_name) == size
    assert name.startswith(tensor(name).c_name.decode())


@pytest.mark.parametrize(
    ("kind", "shape", "has_one"),
    [(INT8, PICTURE, True), (FLOAT32, PICTURE, False), (INT8, (1, 3), False)],
)
def test_only_pictures_of_narrow_types_have_a_native_layout(kind: int, shape: tuple[int, ...], has_one: bool) -> None:
    assert tensor(kind=kind).native_layout(shape) == (layouts.NC1HWC2 if has_one else None)


def test_what_passes_through_has_the_tensors_own_type() -> None:
    code = rknn_error.RKNN_ERR_INPUT_INVALID
    assert form_of(tensor(), INT8, layouts.NHWC, 0, code) == Form(INT8, layouts.NHWC)
    assert form_of(tensor(), INT4, layouts.NHWC, 1, code) == Form(FLOAT32, layouts.NHWC)
    with pytest.raises(RknnError) as caught:
        form_of(tensor(), INT4, layouts.NHWC, 0, code)
    assert caught.value.code is code


def test_a_native_form_takes_whole_groups_of_channels() -> None:
    assert Form(INT8, layouts.NC1HWC2).size(PICTURE) == 16 * 2 * 5
    assert Form(FLOAT32, layouts.NHWC).size(PICTURE) == 4 * 3 * 2 * 5


def test_an_attribute_says_what_is_known() -> None:
    attr = rknn_tensor_attr(h_stride=9, zp=9)
    describe(attr, tensor(kind=INT8, quantisation=Quantisation(0.5, -3)), PICTURE, layouts.NHWC)
    assert (attr.index, attr.name, list(attr.dims[: attr.n_dims])) == (1, b"x", [1, 2, 5, 3])
    assert (attr.n_elems, attr.size, attr.size_with_stride, attr.w_stride, attr.h_stride) == (30, 30, 30, 5, 0)
    assert (attr.fmt, attr.type, attr.scale, attr.zp) == (layouts.NHWC, INT8, 0.5, -3)
    assert attr.qnt_type == rknn_tensor_qnt_type.RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC
    describe(attr, tensor(), (7,), layouts.NHWC)
    assert (attr.fmt, attr.w_stride, attr.scale, attr.zp) == (layouts.UNDEFINED, 0, 0, 0), "nothing of before is left"


@pytest.mark.parametrize("shape", [(1,) * 17, (2**30, 1)])
def test_what_the_struct_can_not_say_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(RknnError, match="are the most"):
        describe(rknn_tensor_attr(), tensor(), shape, layouts.UNDEFINED)


def bytes_of(values: Any) -> Any:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def test_values_are_copied_even_if_nothing_is_converted() -> None:
    """The memory may be a client's: an index that was checked must not change before it is used."""
    values = np.arange(30, dtype=np.float32).reshape(PICTURE)
    memory = bytes_of(values.transpose(0, 2, 3, 1))
    taken = take_in(memory, tensor(), PICTURE, Form(FLOAT32, layouts.NHWC))
    memory[:] = 0
    np.testing.assert_array_equal(taken, values)
    assert taken.flags.c_contiguous


def test_another_type_is_quantised_or_cast() -> None:
    form, quantised = Form(FLOAT32, layouts.UNDEFINED), tensor(kind=INT8, quantisation=Quantisation(0.5, 1))
    memory = bytes_of(np.array([1.0, 300.0], np.float32))
    assert take_in(memory, quantised, (2,), form).tolist() == [3, 127]
    assert take_in(memory, tensor(kind=INT8), (2,), form).tolist() == [1, 127]
    assert give_out(np.array([3, -1], np.int8), quantised, form).view(np.float32).tolist() == [1.0, -1.0]
    assert give_out(np.array([3, -1], np.int8), tensor(kind=INT8), form).view(np.float32).tolist() == [3.0, -1.0]
    assert give_out(np.array([3, -1], np.int8), quantised, Form(INT8, layouts.UNDEFINED)).view(np.int8).tolist() == [
        3,
        -1,
    ]


def test_a_scalar_stays_one() -> None:
    memory = bytes_of(np.array(2.0, np.float32))
    assert take_in(memory, tensor(kind=INT8), (), Form(FLOAT32, layouts.UNDEFINED)).shape == ()
