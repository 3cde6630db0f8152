"""Inputs that come with a call: whether an array is one tensor, or has a tensor for each input of the model.

``inputs`` is a tensor in any form, an rknn_input, or an array of these. An array of arrays of numbers may be either one
tensor with rows or a tensor for each input: the model's inputs decide. In both cases errors name what the client wrote.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rkllmd.abi.json import schemas
from rkllmd.abi.layouts.rknn import rknn_tensor_attr
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json
from rkllmd.wire.long_strings import LongString
from rknn._inputs import Item, data_path, set_inputs

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.calls.invocation import Invocation
    from rkllmd.vision.objects import Context
    from rkllmd.vision.parts import Vision

_INPUT: Final = schemas.struct_schema("rknn_input")
# The fields that distinguish an rknn_input from a tensor, which has data and size too.
_ONLY_IN_INPUTS: Final = frozenset({"index", "buf", "type", "fmt", "pass_through"})


def set_given_inputs(vision: Vision, invocation: Invocation, ctx: Context, given: Converted) -> None:
    """Set the inputs that came with the call, on the worker thread. Raises InvalidParams, RuntimeFailure."""
    value = given.json
    if value == [] and not ctx.inputs:
        return
    if isinstance(value, list) and _is_one_for_each(value, ctx.inputs):
        items = [_item(json, place) for json, place in given.elements]
    else:
        items = [_item(value, given.path)]
    set_inputs(vision.runtime, ctx, items, given.path, given.sources)


def _item(value: Json, path: str) -> Item:
    """Return an rknn_input, or a tensor as one. Raises InvalidParams."""
    if isinstance(value, dict) and value.keys() & _ONLY_IN_INPUTS:
        schemas.check(_INPUT, value, path)
        return Item(value, path, data_path(value, path))
    schemas.check(schemas.TENSOR, value, path)
    return Item({"buf": value}, path, path)


def _is_one_for_each(values: list[Json], inputs: list[rknn_tensor_attr]) -> bool:
    """Return whether each member of an array is an input, rather than a row or a number of a single one."""
    if any(_is_number(value) for value in values):
        if any(isinstance(value, (dict, str, LongString)) for value in values):
            return True  # scalars, beside tensors in other forms
        # Numbers are the elements of the first input, unless there is a scalar for each input.
        return len(values) > 1 and len(values) == len(inputs) and _fit(values, inputs)
    if not values or any(not isinstance(value, list) for value in values):
        return bool(values)
    is_first = inputs != [] and _count(values) == inputs[0].n_elems
    return len(inputs) > 1 and (_fit(values, inputs) or not is_first)


def _fit(values: list[Json], inputs: list[rknn_tensor_attr]) -> bool:
    return len(values) == len(inputs) and all(
        _count(value) == attr.n_elems for value, attr in zip(values, inputs, strict=True)
    )


def _count(value: Json) -> int:
    """Return how many elements nested arrays have, if all arrays of one level are as long as the first."""
    lengths = []
    while isinstance(value, list):
        lengths.append(len(value))
        value = value[0] if value else None
    return math.prod(lengths)


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float))


def needs_inputs(ctx: Context, given: Converted | None, method: str) -> None:
    """Refuse a call without inputs for a model that has some. Raises InvalidParams."""
    if given is None and ctx.inputs:
        raise InvalidParams(f"{method} needs inputs.", path="$.inputs", keyword="required", limit=["inputs"])
