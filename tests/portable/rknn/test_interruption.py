"""Calls that are asked to stop: a run, a wait, a load, a product; and what does not stop is left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type
from rkllmd.interruption import Interruption, obeying
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.matmul import context as matmul_context
from rkllmd.portable.rknn.models import apart, model, run, session
from rkllmd.portable.rknn.models.context import Context
from tests.portable.rknn import models
from tests.portable.rknn.calls.products import Product, info_of
from tests.portable.rknn.client import FAIL, OK, TIMEOUT, C, attr, content, dims, get, init, load, set_input
from tests.portable.rknn.client import run as rknn_run
from tests.portable.rknn.conftest import Line

ONE = np.ones(1, np.float32)


@pytest.fixture
def stubborn() -> Iterator[threading.Event]:
    """Return what ends work that does not stop."""
    end = threading.Event()
    yield end
    end.set()


class Stubborn:
    """A session, as ONNX Runtime's, in a node that does not end before ``end`` is set."""

    def __init__(self, end: threading.Event) -> None:
        self.end = end
        self.entered = threading.Event()

    def run(self, _names: None, feeds: dict[str, Any], _options: Any) -> list[Any]:
        """Return the input when it is let go."""
        self.entered.set()
        self.end.wait()
        return [feeds["x"]]


def loop(go: bool) -> int:
    context = load(models.forever())
    assert set_input(context, np.array([go]), index=0) == OK
    assert set_input(context, ONE, index=1) == OK
    return context


def set_after(entered: threading.Event, interruption: Interruption) -> None:
    """Interrupt once something is entered."""

    def interrupt() -> None:
        entered.wait()
        interruption.set()

    threading.Thread(target=interrupt).start()


def test_a_run_for_ever_is_interrupted(line: Line) -> None:
    context, interruption = loop(go=True), Interruption()
    threading.Timer(0.1, interruption.set).start()
    with obeying(interruption):
        assert rknn_run(context) == FAIL
    assert "the run was interrupted" in line()
    assert C["rknn_destroy"](context) == OK


def test_an_interruption_that_came_before_the_run_counts(line: Line) -> None:
    context, interruption = loop(go=True), Interruption()
    interruption.set()
    with obeying(interruption):
        assert rknn_run(context) == FAIL
    assert "the run was interrupted" in line()
    assert C["rknn_destroy"](context) == OK


def test_a_wait_is_interrupted_and_the_run_goes_on(line: Line) -> None:
    context, interruption = loop(go=True), Interruption()
    assert rknn_run(context, rknn_run_extend(non_block=1)) == OK
    threading.Timer(0.1, interruption.set).start()
    with obeying(interruption):
        assert C["rknn_wait"](context, None) == FAIL
    assert "the wait for the run was interrupted" in line()
    assert C["rknn_wait"](context, rknn_run_extend(timeout_ms=1)) == TIMEOUT
    assert "longer" in line()
    assert C["rknn_destroy"](context) == OK


def test_a_node_that_does_not_end_is_left_alone(
    line: Line, stubborn: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_PATIENCE_SECONDS", 0.01)
    context, interruption = load(models.floats()), Interruption()
    image = np.ones((1, 3, 4, 4), np.float32)
    assert set_input(context, image) == OK
    held: Any = handles.find(context, Context).model.session
    own, held.ort = held.ort, Stubborn(stubborn)
    set_after(held.ort.entered, interruption)
    with obeying(interruption):
        assert rknn_run(context) == FAIL
    assert "the run was interrupted" in line()
    held.ort = own
    assert rknn_run(context) == OK, "the next run does not wait for it"
    assert get(context, np.float32).tobytes() == models.reference(models.floats(), {"x": image})[0].tobytes()
    assert C["rknn_destroy"](context) == OK


def test_a_load_that_does_not_end_is_left_alone(
    line: Line, stubborn: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_LOAD_PATIENCE_SECONDS", 0.01)
    entered, interruption = threading.Event(), Interruption()
    opened = session.engine().InferenceSession
    ended = threading.Event()

    class Slow:
        def __new__(cls, path: str, *arguments: Any, **options: Any) -> Any:
            entered.set()
            stubborn.wait()
            made = opened(path, *arguments, **options)  # its file must still be there
            ended.set()
            return made

    monkeypatch.setattr(session.engine(), "InferenceSession", Slow)
    set_after(entered, interruption)
    with obeying(interruption):
        assert init(models.floats()) == (FAIL, 0)
    assert "the load was interrupted" in line()
    stubborn.set()
    assert ended.wait(60)


def test_a_load_that_fails_says_so_on_a_thread_of_its_own_too(line: Line) -> None:
    with obeying(Interruption()):
        assert init(b"no model at all")[1] == 0
    assert "ONNX Runtime refuses the model" in line()


def test_a_run_on_zeros_that_does_not_end_leaves_the_shape_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_LEARN_SECONDS", 0.1)
    context = load(models.forever_on_zeros())
    assert dims(attr(context, "OUTPUT")) == (1,)
    assert C["rknn_destroy"](context) == OK


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
