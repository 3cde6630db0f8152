"""rknn.get_constants: groups of full C names to numbers."""

from __future__ import annotations

from typing import Any

from rkllmd.abi.layouts import rknn_constants as constants
from rkllmd.abi.layouts.rknn_custom_op import rknn_target_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_layout, rknn_matmul_quant_type, rknn_matmul_type
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.vision.parts import Vision

_GROUPS: dict[str, Any] = {
    "FLAGS": constants.rknn_flag,
    "ERRORS": constants.rknn_error,
    "QUERIES": constants.rknn_query_cmd,
    "TENSOR_TYPES": constants.rknn_tensor_type,
    "QNT_TYPES": constants.rknn_tensor_qnt_type,
    "FORMATS": constants.rknn_tensor_format,
    "CORE_MASKS": constants.rknn_core_mask,
    "MEMORY_FLAGS": constants.rknn_tensor_mem_flags,
    "ALLOC_FLAGS": {**constants.rknn_mem_alloc_flags.__members__, **constants.rknn_mem_flag.__members__},
    "SYNC_MODES": constants.rknn_mem_sync_mode,
    "MATMUL_TYPES": rknn_matmul_type,
    "MATMUL_QUANT_TYPES": rknn_matmul_quant_type,
    "MATMUL_LAYOUTS": rknn_matmul_layout,
    "TARGET_TYPES": rknn_target_type,
}
_CONSTANTS: dict[str, dict[str, int]] = {
    group: {name: int(value) for name, value in getattr(enum, "__members__", enum).items()}
    for group, enum in _GROUPS.items()
}
_CONSTANTS["MAX_VALUES"] = {
    name: value for name, value in vars(constants).items() if name.startswith("RKNN_MAX_") and isinstance(value, int)
}


@method(Kind.INSTANT)
def get_constants(vision: Vision, invocation: Invocation) -> dict[str, Any]:
    """Return the constants; an enum parameter takes either the number or the name."""
    return _CONSTANTS
