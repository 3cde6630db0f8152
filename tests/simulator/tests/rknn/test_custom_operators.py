"""Custom operators of RKNN's simulator, as a program and as a plugin bring them."""

from __future__ import annotations

import ctypes
from typing import Any

from rkllmd.abi.layouts import rknn_custom_op
from rkllmd.abi.layouts.rknn_constants import rknn_error
from tests.daemon import BUILD_DIRECTORY, rknn_simulator
from tests.simulator.build import build_operator
from tests.simulator.rknn_player import RknnSimulator, Type
from tests.simulator.tests.rknn.models import SCALED, play, signed


class Operators:
    """An operator of type "Scale" whose callbacks are Python's."""

    def __init__(self, simulator: RknnSimulator, **answers: int) -> None:
        self.simulator = simulator
        self.answers = answers
        self.calls: list[str] = []
        self.attributes: dict[bytes, Any] = {}
        self.context: Any = None
        self.struct = rknn_custom_op.rknn_custom_op(version=1, target=1, op_type=b"Scale")
        self.struct.init = rknn_custom_op.CustomOpCallback(self.init)
        self.struct.prepare = rknn_custom_op.CustomOpCallback(self.prepare)
        self.struct.compute = rknn_custom_op.CustomOpCallback(self.compute)
        self.struct.destroy = rknn_custom_op.CustomOpDestroy(self.destroy)

    def init(self, context: Any, _inputs: Any, _n_inputs: int, _outputs: Any, _n_outputs: int) -> int:
        """Ask for all attributes."""
        self.calls.append("init")
        self.context = context
        for name in (b"name", b"factor", b"axes", b"none"):
            attribute = rknn_custom_op.rknn_custom_op_attr()
            self.simulator.rknn_custom_op_get_op_attr(context, name, ctypes.byref(attribute))
            self.attributes[name] = attribute
        return self.answers.get("init", 0)

    def prepare(self, *_: Any) -> int:
        """Do nothing."""
        self.calls.append("prepare")
        return 0

    def compute(self, _context: Any, inputs: Any, n_inputs: int, outputs: Any, n_outputs: int) -> int:
        """Multiply by three."""
        self.calls.append(f"compute {n_inputs} {n_outputs} {inputs[0].attr.type} {inputs[0].attr.name.decode()}")
        count = inputs[0].attr.n_elems
        source, target = (
            (ctypes.c_float * count).from_address(tensor.mem.virt_addr + tensor.mem.offset)
            for tensor in (inputs[0], outputs[0])
        )
        target[:] = [value * 3 for value in source]
        return self.answers.get("compute", 0)

    def destroy(self, _context: Any) -> int:
        """Do nothing."""
        self.calls.append("destroy")
        return 0


VALUES = bytes([2, 3, 4, 5, 0, 255, 50, 127])  # (value - 2) / 2 as int8


def test_custom_operator(simulator: RknnSimulator) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == 0
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    found = operators.attributes
    assert (found[b"name"].dtype, ctypes.string_at(found[b"name"].data)) == (Type.RKNN_TENSOR_UINT8, b"twice")
    assert (found[b"factor"].n_elems, ctypes.c_float.from_address(found[b"factor"].data).value) == (1, 3)
    assert list((ctypes.c_int64 * 2).from_address(found[b"axes"].data)) == [-1, 2]
    assert (found[b"none"].n_elems, found[b"none"].data) == (0, None)
    assert signed(context.play(VALUES)[0]) == [2, 5, 8, 11, -4, -7, 127, 127]
    assert context.destroy() == 0
    assert operators.calls == ["init", "prepare", "compute 1 1 0 y", "destroy"]


def test_operators_that_fail_or_skip(simulator: RknnSimulator) -> None:
    skip = rknn_custom_op.RKNN_WARNING_SKIP_CUSTOM_OP_COMPUTE
    for answers, status, ran in (
        ({"compute": -1}, -1, True),
        ({"compute": skip}, 0, True),
        ({"init": skip}, 0, False),
    ):
        context, operators = simulator.init(SCALED), Operators(simulator, **answers)
        assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == 0
        context.set_input(VALUES, pass_through=1)
        assert context.run(None) == status
        assert any(call.startswith("compute") for call in operators.calls) is ran
        if status == 0:
            assert context.outputs() == [VALUES]
        context.destroy()
    context, operators = simulator.init(SCALED), Operators(simulator, init=-4)
    assert context.register_custom_ops(ctypes.byref(operators.struct), 1) == -4
    context.set_input(VALUES, pass_through=1)
    assert context.run(None) == rknn_error.RKNN_ERR_FAIL
    context.destroy()
    assert operators.calls == ["init"]


def test_attributes_outside_a_callback(simulator: RknnSimulator, complaints: list[str]) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    context.register_custom_ops(ctypes.byref(operators.struct), 1)
    attribute = rknn_custom_op.rknn_custom_op_attr(n_elems=7)
    simulator.rknn_custom_op_get_op_attr(operators.context, b"factor", ctypes.byref(attribute))
    assert attribute.n_elems == 0
    context.destroy()
    complaints.append("outside the callback")


def test_a_call_inside_a_callback(simulator: RknnSimulator, complaints: list[str]) -> None:
    context, operators = simulator.init(SCALED), Operators(simulator)
    answers: list[int] = []

    def run_again(*_: Any) -> int:
        answers.append(context.run(None))
        return 0

    operators.struct.prepare = rknn_custom_op.CustomOpCallback(run_again)
    context.register_custom_ops(ctypes.byref(operators.struct), 1)
    context.play(VALUES)
    context.destroy()
    assert answers == [rknn_error.RKNN_ERR_FAIL]
    complaints.append("rknn_run was called inside an operator's callback")


def test_operator_without_callbacks(simulator: RknnSimulator) -> None:
    context = simulator.init(SCALED)
    empty = rknn_custom_op.rknn_custom_op(target=1, op_type=b"Scale")
    assert context.register_custom_ops(ctypes.byref(empty), 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.register_custom_ops(None, 1) == rknn_error.RKNN_ERR_PARAM_INVALID
    context.destroy()


def test_example_operator() -> None:
    """In a process of its own: the plug-in finds the library that is loaded already by its name."""
    program = f"""
import ctypes
from pathlib import Path
from rkllmd.abi.layouts.rknn_custom_op import rknn_custom_op
from tests.simulator.rknn_player import RknnSimulator
simulator = RknnSimulator(Path({str(rknn_simulator())!r}))
plug_in = ctypes.CDLL({str(build_operator(BUILD_DIRECTORY))!r})
plug_in.get_rknn_custom_op.restype = ctypes.POINTER(rknn_custom_op)
context = simulator.init({SCALED!r})
assert context.register_custom_ops(plug_in.get_rknn_custom_op(), 1) == 0
print(list(context.play({VALUES!r})[0]))
assert context.destroy() == 0
"""
    done = play(program, "log=none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[2, 5, 8, 11, 252, 249, 127, 127]\n"
