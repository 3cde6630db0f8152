"""A product of matrices: what it is made of, and that it can be stopped between its pieces."""

from __future__ import annotations

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type
from rkllmd.interruption import Interruption, obeying
from rkllmd.portable.rknn.matmul import context as matmul_context
from tests.portable.rknn.calls.products import Product, info_of
from tests.portable.rknn.client import FAIL, OK, content
from tests.portable.rknn.conftest import Line


def test_a_product_of_matrices_is_interrupted_between_its_pieces(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul_context, "_MULTIPLICATIONS_AT_ONCE", 1)
    interruption = Interruption()
    interruption.set()
    product = Product(info_of(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, m=4, k=32, n=16))
    product.put("A", np.ones((4, 32), np.int8))
    product.put("B", np.ones((32, 16), np.int8))
    with obeying(interruption):
        assert product.run() == FAIL
    assert "the product was interrupted" in line()
    assert product.run() == OK
    assert (content(product.memories["C"], np.int32) == 32).all()


@pytest.mark.parametrize("at_once", [1, 40, 100, 700])
def test_a_product_in_pieces_is_the_product(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-100, 100, (7, 32)).astype(np.float64), rng.integers(-100, 100, (32, 11)).astype(np.float64)
    monkeypatch.setattr(matmul_context, "_MULTIPLICATIONS_AT_ONCE", at_once)
    assert (matmul_context._product(a, b) == a @ b).all()
