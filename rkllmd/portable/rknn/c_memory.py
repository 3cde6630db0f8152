"""C memory as numpy arrays: numpy lets go of the GIL while it copies and casts, ``bytes`` does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Any: the elements may be of every type, and numpy's own types cannot say that what is computed keeps it.
Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class _Foreign:
    """What numpy has to know to make an array over memory that Python did not allocate."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}


def view(address: int, size: int) -> Bytes:
    """Return ``size`` bytes at ``address`` as a writable array. Nothing is copied and nothing is kept alive."""
    if size == 0:
        return np.empty(0, np.uint8)
    return np.asarray(_Foreign(address, size))


def raw(values: Array) -> Bytes:
    """Return the bytes of an array, in C order; a copy only if the elements are in another order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
