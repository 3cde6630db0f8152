"""Every mirrored struct by its C name."""

from __future__ import annotations

from functools import cache
from typing import Any

from rkllmd.abi.c_types import Struct
from rkllmd.abi.layouts import rknn, rknn_matmul
from rkllmd.abi.layouts.rkllm import LAYOUTS


@cache
def struct_types(name: str) -> list[type[Struct]]:
    """Return the mirrors of a struct: of RKLLM's one for each layout that has it. Raises KeyError."""
    found = [layout.structs[name] for layout in LAYOUTS.values() if name in layout.structs]
    for module in (rknn, rknn_matmul):
        struct: Any = vars(module).get(name)
        if isinstance(struct, type) and issubclass(struct, Struct) and struct is not Struct:
            return [struct]
    if not found:
        raise KeyError(name)
    return found
