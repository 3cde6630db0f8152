"""C memory as numpy arrays: seen, and not copied."""

from __future__ import annotations

import numpy as np

from rkllmd.portable.rknn.c_memory import raw, view


def test_memory_is_seen_and_not_copied() -> None:
    owner = np.zeros(8, np.uint8)
    view(owner.ctypes.data, 8)[:] = 7
    assert owner.tolist() == [7] * 8
    assert view(0, 0).size == 0
    assert raw(owner).ctypes.data == owner.ctypes.data
    assert raw(np.array(1.0, np.float32)).size == 4
