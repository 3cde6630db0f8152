"""Runs that are asked to stop, and waits for them; what does not stop is left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.interruption import Interruption, obeying
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.models import run
from rkllmd.portable.rknn.models.context import Context
from tests.portable.rknn import graphs
from tests.portable.rknn.client import FAIL, OK, TIMEOUT, C, get, load, set_input
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
    context = load(graphs.forever())
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
    context, interruption = load(graphs.floats()), Interruption()
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
    assert get(context, np.float32).tobytes() == graphs.reference(graphs.floats(), {"x": image})[0].tobytes()
    assert C["rknn_destroy"](context) == OK
