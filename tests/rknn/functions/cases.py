"""The cases of RKNN's functions: each proves that its function has its effect in the runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.portable.rknn.graphs import floats, reference

CASES: dict[str, Callable[..., None]] = {}
OK = {"success": True, "status": 0}
IMAGE = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 4, 4, 3)
INT8 = "RKNN_INT8_MM_INT8_TO_INT32"


def case(function: Callable[..., None]) -> Callable[..., None]:
    CASES[f"rknn_{function.__name__}"] = function
    return function


def expected_of_floats(image: Any = IMAGE) -> Any:
    return reference(floats(), {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})[0]
