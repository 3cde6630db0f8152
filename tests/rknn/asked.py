"""A model in words: what its runtime answers to rknn_query, without C."""

from __future__ import annotations

import ctypes
from typing import Any

from rkllmd.abi.layouts.rknn import rknn_input, rknn_input_output_num, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd, rknn_tensor_format, rknn_tensor_qnt_type, rknn_tensor_type
from rkllmd.errors import RuntimeFailure
from rkllmd.vision.objects import Context

Q, T, F = rknn_query_cmd, rknn_tensor_type, rknn_tensor_format
ITEM_SIZES = {T.RKNN_TENSOR_FLOAT32: 4, T.RKNN_TENSOR_FLOAT16: 2, T.RKNN_TENSOR_INT64: 8}


def attr(
    *dims: int,
    kind: int = T.RKNN_TENSOR_FLOAT32,
    fmt: int = F.RKNN_TENSOR_UNDEFINED,
    index: int = 0,
    name: str = "x",
    scale: float | None = None,
    **more: int,
) -> rknn_tensor_attr:
    """Return the attributes of a tensor; quantised if it has a ``scale``."""
    made = rknn_tensor_attr(index=index, n_dims=len(dims), name=name.encode(), fmt=fmt, type=kind)
    made.n_elems = 1
    for place, size in enumerate(dims):
        made.dims[place] = size
        made.n_elems *= size
    made.size = made.size_with_stride = made.n_elems * ITEM_SIZES.get(T(kind), 1)
    if scale is not None:
        made.scale, made.qnt_type = scale, rknn_tensor_qnt_type.RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC
    for field, value in more.items():
        setattr(made, field, value)
    return made


class Asked:
    """A runtime that has these answers, and fails for every other question."""

    def __init__(self, answers: dict[tuple[rknn_query_cmd, int], ctypes.Structure], name: str = "vendor") -> None:
        self.name = name
        self.shapes_follow_values = self.can_be_interrupted = name == "portable"
        self.answers = answers
        self.asked: list[tuple[rknn_query_cmd, int]] = []
        self.called: list[str] = []
        self.inputs: list[dict[str, Any]] = []  # of the last rknn_inputs_set

    @property
    def library(self) -> Any:
        """Return something that has a runtime's name."""
        return self

    runtime = "rknn 2.3.2"

    def call(self, function: str, *arguments: Any, on: object = None) -> None:
        """Answer a question, or note the call."""
        if function == "rknn_query":
            self._answer(*arguments)
            return
        self.called.append(function)
        if function == "rknn_inputs_set":
            self.inputs = [_seen(item) for item in arguments[2]]

    def _answer(self, _context: Any, command: int, info: Any, size: int) -> None:
        asks = ctypes.cast(info, ctypes.POINTER(ctypes.c_uint32))[0]
        question = (Q(command), 0 if (Q(command), 0) in self.answers and asks > 64 else asks)
        self.asked.append(question)
        if question not in self.answers:
            raise RuntimeFailure("rknn_query failed.", function="rknn_query", status=-5, log=[])
        ctypes.memmove(info, ctypes.addressof(self.answers[question]), size)


def _seen(item: rknn_input) -> dict[str, Any]:
    return {
        "index": item.index,
        "bytes": ctypes.string_at(item.buf, item.size),
        "type": T(item.type),
        "fmt": F(item.fmt),
        "pass_through": bool(item.pass_through),
    }


def model(*inputs: rknn_tensor_attr, outputs: list[rknn_tensor_attr] | None = None, name: str = "vendor") -> Any:
    """Return a runtime and a loaded context with these tensors."""
    outputs = outputs or []
    answers: Any = {(Q.RKNN_QUERY_IN_OUT_NUM, 0): rknn_input_output_num(len(inputs), len(outputs))}
    for number, item in enumerate(inputs):
        answers[Q.RKNN_QUERY_INPUT_ATTR, number] = answers[Q.RKNN_QUERY_CURRENT_INPUT_ATTR, number] = item
    for number, item in enumerate(outputs):
        answers[Q.RKNN_QUERY_OUTPUT_ATTR, number] = answers[Q.RKNN_QUERY_CURRENT_OUTPUT_ATTR, number] = item
    context = Context("/m.rknn", 10, 0)
    context.pointer.value = 1
    context.inputs, context.outputs = [*inputs], [*outputs]
    runtime: Any = Asked(answers, name)
    return runtime, context
