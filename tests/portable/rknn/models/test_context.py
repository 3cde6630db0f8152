"""The state of a context: what makes its values and the outputs of its last run void, and what a run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from rkllmd.abi.layouts.rknn_constants import rknn_flag
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models.context import Binding, Context
from rkllmd.portable.rknn.models.model import Model
from rkllmd.portable.rknn.models.model_file import ModelFile
from rkllmd.portable.rknn.tensors import layouts
from rkllmd.portable.rknn.tensors.elements import FLOAT32
from rkllmd.portable.rknn.tensors.tensors import Form
from tests.portable.rknn.client import Array
from tests.portable.rknn.graphs import identity

ROW = np.ones((1, 2), np.float32)


class Memory:
    """A memory in words."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_alive = True
        self.content: Any = np.arange(size, dtype=np.uint8)

    def read(self, size: int) -> Array:
        """Return its first bytes."""
        found: Array = self.content[:size]
        return found

    def write(self, content: Array) -> None:
        """Keep what is written."""
        self.content = content


def bound(size: int) -> tuple[Any, Binding]:
    memory: Any = Memory(size)
    return memory, Binding(memory, Form(FLOAT32, layouts.UNDEFINED))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Return a context of y = x with rows of two."""
    path = tmp_path / "model.onnx"
    path.write_bytes(identity(TensorProto.FLOAT, ["rows", 2]))
    return Context.of(Model(ModelFile.from_path(str(path), 0, 0), profiled=False), 0)


def ran(context: Context, value: Array) -> list[Any]:
    context.values[0] = value
    context.run(blocking=True, timeout=None)
    assert context.outputs is not None
    return context.outputs[0].tolist()  # type: ignore[no-any-return]


def test_a_run_has_outputs_a_number_and_a_duration(context: Context) -> None:
    assert ran(context, ROW) == [[1, 1]]
    assert (context.frame, context.duration >= 0) == (1, True)
    context.destroy()


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_run_may_be_waited_for_later(context: Context, blocking: bool, timeout: float | None) -> None:
    context.values[0] = ROW
    context.run(blocking=blocking, timeout=timeout)
    assert (context.outputs is not None) >= blocking
    context.finish(None)
    assert context.outputs is not None
    context.finish(None)
    context.destroy()


def test_another_shape_makes_the_value_and_the_outputs_void_and_the_same_one_does_not(context: Context) -> None:
    ran(context, ROW)
    context.set_shapes({0: (1, 2)})
    assert (context.values, context.outputs) != ({}, None)
    context.set_shapes({0: (3, 2)})
    assert not context.values
    assert context.outputs is None
    assert (context.output_shapes(), context.first_output_shapes()) == ([(3, 2)], [(1, 2)])
    with pytest.raises(RknnError, match=r"^input 0 \(x\) is not set$"):
        context.run(blocking=True, timeout=None)
    context.destroy()


def test_a_context_that_was_made_to_look_at_the_model_does_not_run(context: Context) -> None:
    context.flags = rknn_flag.RKNN_FLAG_COLLECT_MODEL_INFO_ONLY
    assert not context.may_run
    with pytest.raises(RknnError, match="COLLECT_MODEL_INFO_ONLY"):
        ran(context, ROW)
    context.destroy()


def test_a_memory_is_read_and_written_at_each_run(context: Context) -> None:
    source, context.bound_inputs[0] = bound(8)
    target, context.bound_outputs[0] = bound(8)
    for number in (1.0, 2.0):
        source.content = np.array([number, number], np.float32).view(np.uint8)
        context.run(blocking=True, timeout=None)
        assert target.content.view(np.float32).tolist() == [number, number]
    context.destroy()


def test_a_memory_that_is_destroyed_or_too_small_is_said_by_its_tensor(context: Context) -> None:
    source, context.bound_inputs[0] = bound(7)
    with pytest.raises(RknnError, match=r"^input 0 \(x\) needs 8 bytes, its memory has 7$"):
        context.run(blocking=True, timeout=None)
    source.is_alive = False
    with pytest.raises(RknnError, match=r"^the memory of input 0 \(x\) is destroyed$"):
        context.run(blocking=True, timeout=None)
    with pytest.raises(RknnError, match="is not set"):
        context.run(blocking=True, timeout=None)
    target, context.bound_outputs[0] = bound(7)
    with pytest.raises(RknnError, match=r"^output 0 \(y\) has 8 bytes, its memory 7$"):
        ran(context, ROW)
    target.is_alive = False
    assert ran(context, ROW) == [[1, 1]]
    assert context.bound_outputs == {}, "it is forgotten"
    context.destroy()
