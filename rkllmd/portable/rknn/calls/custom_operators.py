"""The functions of rknn_custom_op.h, which all fail: a graph of ONNX Runtime's cannot call the vendor's C operators."""

from __future__ import annotations

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models.context import Context

_SENTENCE = "custom operators need a vendor runtime"


def register_custom_ops(context: int, _operators: object, _count: int) -> None:
    """rknn_register_custom_ops: always RKNN_ERR_FAIL."""
    handles.find(context, Context)
    raise RknnError(rknn_error.RKNN_ERR_FAIL, _SENTENCE)


def custom_op_get_op_attr(_context: object, _name: bytes | None, _attr: object) -> None:
    """rknn_custom_op_get_op_attr: always fails; it returns no status, so only the line on descriptor 2 says so."""
    raise RknnError(rknn_error.RKNN_ERR_FAIL, _SENTENCE)
