"""A context of the graph of floats, and what it computes."""

from __future__ import annotations

import numpy as np

from tests.portable.rknn.client import OK, C, get, run, set_input
from tests.portable.rknn.graphs import floats, reference

X = np.random.default_rng(3).standard_normal((1, 3, 4, 4)).astype(np.float32)


def runs_and_ends(context: int) -> None:
    """Check that a context computes what ONNX Runtime does; destroy it."""
    assert set_input(context, X) == OK
    assert run(context) == OK
    assert (get(context, np.float32) == reference(floats(), {"x": X})[0].ravel()).all()
    assert C["rknn_destroy"](context) == OK
