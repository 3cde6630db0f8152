"""The orders in which the elements of a tensor may lie in memory."""

from __future__ import annotations

import numpy as np
import pytest

from rkllmd.portable.rknn.tensors import elements, layouts

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("element_type", layouts.CHANNEL_GROUP)
@pytest.mark.parametrize("layout", [layouts.NCHW, layouts.NHWC, layouts.NC1HWC2])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (1, 16, 2, 3), (2, 17, 1, 3), (1, 32, 2, 2)])
def test_there_and_back(shape: tuple[int, ...], layout: int, element_type: int) -> None:
    values = RNG.integers(0, 100, shape).astype(elements.DTYPES[element_type])
    stored = layouts.to_stored(values, layout, element_type)
    assert stored.shape == layouts.stored_shape(shape, layout, element_type)
    np.testing.assert_array_equal(layouts.from_stored(np.ascontiguousarray(stored), shape, layout), values)


def test_the_order_of_nc1hwc2() -> None:
    values = RNG.integers(0, 100, (2, 20, 3, 4)).astype(np.int8)
    stored = layouts.to_stored(values, layouts.NC1HWC2, 2)
    for n, c, h, w in np.ndindex(2, 20, 3, 4):
        assert stored[n, c // 16, h, w, c % 16] == values[n, c, h, w]
    assert not stored[:, 1, :, :, 4:].any()
