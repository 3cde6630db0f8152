"""One rknn_context: a model, the shapes and values of its inputs, the memories bound to it, and its last run."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import field

from rkllmd import interruption
from rkllmd.abi.layouts.rknn_constants import rknn_error, rknn_flag
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.errors import RknnError, require
from rkllmd.portable.rknn.models import apart, arena
from rkllmd.portable.rknn.models.model import Model
from rkllmd.portable.rknn.models.run import Run
from rkllmd.portable.rknn.tensors.layouts import Shape
from rkllmd.portable.rknn.tensors.memories import Memory
from rkllmd.portable.rknn.tensors.tensors import Form, Tensor, give_out, take_in
from rkllmd.quick_dataclass import dataclass


@dataclass
class Binding:
    """A memory that a tensor's values are read from, or written to, at each run."""

    memory: Memory
    form: Form


@dataclass
class Context:
    """The state of one context. A change of an input's shape makes its value and the outputs of the last run void."""

    model: Model
    flags: int
    shapes: list[Shape]
    values: dict[int, Array] = field(default_factory=dict)
    bound_inputs: dict[int, Binding] = field(default_factory=dict)
    bound_outputs: dict[int, Binding] = field(default_factory=dict)
    outputs: list[Array] | None = None
    frame: int = 0
    duration: int = 0  # of the last run, in microseconds
    # The buffers that rknn_outputs_get made, by address, until they are released.
    lent: dict[int, Array] = field(default_factory=dict)
    # The text that RKNN_QUERY_PERF_DETAIL pointed to last.
    layer_table: ctypes.Array[ctypes.c_char] | None = None
    _pending: Run | None = None
    _first_output_shapes: list[Shape] | None = None
    _output_shapes: list[Shape] | None = None

    @classmethod
    def of(cls, model: Model, flags: int) -> Context:
        """Return a context at its start."""
        return cls(model, flags, model.first_shapes())

    @property
    def may_run(self) -> bool:
        """Whether the context may be run: not if it was made only to look at the model."""
        return not self.flags & rknn_flag.RKNN_FLAG_COLLECT_MODEL_INFO_ONLY

    def output_shapes(self) -> list[Shape]:
        """Return the shapes of the outputs: those of the last run, or those that the inputs' shapes let expect."""
        if self.outputs is not None:
            return [output.shape for output in self.outputs]
        if self._output_shapes is None:
            self._output_shapes = self.model.output_shapes(self.shapes, may_run=self.may_run)
        return self._output_shapes

    def first_output_shapes(self) -> list[Shape]:
        """Return the shapes of the outputs for the inputs' shapes at the start."""
        if self._first_output_shapes is None:
            self._first_output_shapes = self.model.output_shapes(self.model.first_shapes(), may_run=self.may_run)
        return self._first_output_shapes

    def set_shapes(self, shapes: dict[int, Shape]) -> None:
        """Give inputs other shapes, which are known to fit."""
        for index, shape in shapes.items():
            if shape != self.shapes[index]:
                self.shapes[index] = shape
                self.values.pop(index, None)
                self.outputs = self._output_shapes = None

    def run(self, *, blocking: bool, timeout: float | None) -> None:
        """Run the graph.

        Not ``blocking``: it runs in a separate thread, and ``finish`` takes its result. ``timeout`` in seconds:
        RKNN_ERR_TIMEOUT when the run takes longer; it is stopped then.

        RKNN_ERR_INPUT_INVALID for inputs without a value, RKNN_ERR_FAIL with ONNX Runtime's reason, or when the run is
        interrupted.
        """
        require(self.may_run, rknn_error.RKNN_ERR_FAIL, "the context was made with COLLECT_MODEL_INFO_ONLY")
        # A run that nobody has waited for has to end first; nobody asks whether it failed.
        with suppress(RknnError):
            self.finish(None)
        self.abandon()
        run = Run(self.model.session, self._feeds())
        self.frame += 1
        self.outputs = None
        if blocking and timeout is None and not run.must_be_apart:
            run.execute()
            self._take(run)
            return
        run.start()
        self._pending = run
        if not blocking:
            return
        try:
            self.finish(timeout)
        finally:
            self.abandon()

    def finish(self, timeout: float | None) -> None:
        """Wait for a run that was not blocking and take its result.

        RKNN_ERR_TIMEOUT: the run goes on; wait again. RKNN_ERR_FAIL when the run is interrupted, or when the calling
        thread is: in that case the run goes on.
        """
        run = self._pending
        if run is None:
            return
        if not run.wait(timeout):
            if run.is_stopped:
                self.abandon()
                raise apart.interrupted("the run")
            if interruption.is_interrupted():
                raise apart.interrupted("the wait for the run")
            raise RknnError(rknn_error.RKNN_ERR_TIMEOUT, f"the run takes longer than {timeout} s")
        self._pending = None
        self._take(run)

    def abandon(self) -> None:
        """Stop a run that nobody has waited for, before its next node, and forget it."""
        if self._pending is not None:
            self._pending.stop()
            self._pending = None

    def destroy(self) -> None:
        """Let go of everything but the memories, which are destroyed separately."""
        self.abandon()
        self.lent.clear()
        self.model.release()

    def _feeds(self) -> dict[str, Array]:
        return {tensor.name: self._value(tensor) for tensor in self.model.inputs}

    def _value(self, tensor: Tensor) -> Array:
        binding = self.bound_inputs.get(tensor.index)
        if binding is None:
            value = self.values.get(tensor.index)
            if value is None:
                raise RknnError(rknn_error.RKNN_ERR_INPUT_INVALID, f"input {tensor.index} ({tensor.name}) is not set")
            return value
        if not binding.memory.is_alive:
            del self.bound_inputs[tensor.index]
            raise RknnError(
                rknn_error.RKNN_ERR_INPUT_INVALID, f"the memory of input {tensor.index} ({tensor.name}) is destroyed"
            )
        shape = self.shapes[tensor.index]
        size = binding.form.size(shape)
        if size > binding.memory.size:
            raise RknnError(
                rknn_error.RKNN_ERR_INPUT_INVALID,
                f"input {tensor.index} ({tensor.name}) needs {size} bytes, its memory has {binding.memory.size}",
            )
        return take_in(binding.memory.read(size), tensor, shape, binding.form)

    def _take(self, run: Run) -> None:
        if run.error and run.is_stopped:
            raise apart.interrupted("the run")
        if run.error:
            short = arena.shortage(run.error)
            if short is not None:
                raise short
            raise RknnError(rknn_error.RKNN_ERR_FAIL, f"ONNX Runtime: {run.error}")
        self.outputs = run.outputs
        self.duration = run.duration
        for index, binding in list(self.bound_outputs.items()):
            if binding.memory.is_alive:
                self._put_out(self.model.outputs[index], run.outputs[index], binding)
            else:
                del self.bound_outputs[index]

    @staticmethod
    def _put_out(tensor: Tensor, values: Array, binding: Binding) -> None:
        content = give_out(values, tensor, binding.form)
        if content.size > binding.memory.size:
            raise RknnError(
                rknn_error.RKNN_ERR_OUTPUT_INVALID,
                f"output {tensor.index} ({tensor.name}) has {content.size} bytes, its memory {binding.memory.size}",
            )
        binding.memory.write(content)
