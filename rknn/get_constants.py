"""rknn.get_constants: groups of C names with their numbers."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from rkllmd.abi.layouts import rknn_constants as constants
from rkllmd.abi.layouts.rknn_custom_op import rknn_target_type
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_layout, rknn_matmul_quant_type, rknn_matmul_type
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.vision.parts import Vision

_GROUPS: dict[str, tuple[type[IntEnum | IntFlag], ...]] = {
    "FLAGS": (constants.rknn_flag,),
    "ERRORS": (constants.rknn_error,),
    "QUERIES": (constants.rknn_query_cmd,),
    "TENSOR_TYPES": (constants.rknn_tensor_type,),
    "QNT_TYPES": (constants.rknn_tensor_qnt_type,),
    "FORMATS": (constants.rknn_tensor_format,),
    "CORE_MASKS": (constants.rknn_core_mask,),
    "MEMORY_FLAGS": (constants.rknn_tensor_mem_flags,),
    "ALLOC_FLAGS": (constants.rknn_mem_alloc_flags, constants.rknn_mem_flag),
    "SYNC_MODES": (constants.rknn_mem_sync_mode,),
    "MATMUL_TYPES": (rknn_matmul_type,),
    "MATMUL_QUANT_TYPES": (rknn_matmul_quant_type,),
    "MATMUL_LAYOUTS": (rknn_matmul_layout,),
    "TARGET_TYPES": (rknn_target_type,),
}
_CONSTANTS: dict[str, dict[str, int]] = {
    group: {name: int(value) for enum in enums for name, value in enum.__members__.items()}
    for group, enums in _GROUPS.items()
}
_CONSTANTS["MAX_VALUES"] = {
    name: value for name, value in vars(constants).items() if name.startswith("RKNN_MAX_") and isinstance(value, int)
}


@method(Kind.INSTANT, repeatable=True)
def get_constants(vision: Vision, invocation: Invocation) -> JsonObject:
    """Return the constants; an enum parameter accepts either the number or the name."""
    return _CONSTANTS
