"""A context that still works after every error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from onnx import TensorProto

from tests.portable.rknn.graphs import identity
from tests.rknn.board import BYTES, Client, b64


@pytest.fixture
def loaded(portable: Client) -> Iterator[tuple[Client, int]]:
    """Return a connection with one context, uint8 [8] to the same; it still works at the end."""
    context = portable.load(identity(TensorProto.UINT8, [8]))
    yield portable, context
    assert portable.infer(b64(BYTES), context)[0].tobytes() == BYTES
