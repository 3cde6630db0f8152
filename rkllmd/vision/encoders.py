"""Vision encoders that the configuration declares beside language models: loaded for their first picture, and run.

They are no client's: they have no handle, and are destroyed when the language model is unloaded that they see for. One
whose file was replaced or written to is loaded again for the next picture.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import Array, addressof, byref, c_char_p, c_void_p, cast, shared_bytes, sizeof
from rkllmd.abi.json.tensors import Tensor
from rkllmd.abi.layouts.rknn import (
    rknn_context,
    rknn_input,
    rknn_input_output_num,
    rknn_output,
    rknn_output_extend,
    rknn_run_extend,
    rknn_tensor_attr,
)
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd, rknn_tensor_format, rknn_tensor_type
from rkllmd.errors import RpcError, RuntimeFailure
from rkllmd.machine import files
from rkllmd.machine.c_runtime import no_handle
from rkllmd.trials import trial
from rkllmd.vision import demand
from rkllmd.vision import trial as rknn_trial
from rkllmd.vision.objects import Context

if TYPE_CHECKING:
    from rkllmd.config.encoders import DeclaredEncoder
    from rkllmd.vision.parts import Vision

log = structlog.get_logger()

# More outputs than encoders have that show each layer of a language model something else.
_MOST_OUTPUTS: Final = 64
_COLOURS: Final = 3


class Encoders:
    """Runs the encoders of one process (``Vision.encoders``), on the worker thread."""

    def __init__(self, vision: Vision) -> None:
        """Load them as they are needed."""
        self._vision = vision

    def encode(self, encoder: DeclaredEncoder, pixels: memoryview) -> Tensor:
        """Return a picture as a language model reads it: float32 (1, tokens, width).

        ``pixels``: uint8, height x width x 3. Raises Quarantined, OutOfMemory, RuntimeFailure, RuntimeUnavailable.
        """
        ctx = self._vision.encoders.get(encoder.path)
        if ctx is not None and files.version(encoder.path) not in (None, ctx.version):
            self.release(encoder.path)
            ctx = None
        if ctx is None:
            ctx = self._vision.encoders[encoder.path] = self._load(encoder)
        self._give(ctx, encoder, pixels)
        self._vision.runtime.call("rknn_run", ctx.pointer, rknn_run_extend(fence_fd=-1), on=ctx)
        ctx.run_count += 1
        return _rows(ctx, self._take(ctx))

    def release(self, path: str) -> None:
        """Destroy an encoder if it is loaded; a failure is only logged."""
        ctx = self._vision.encoders.pop(path, None)
        if ctx is not None:
            self._destroy(ctx)

    def release_all(self) -> None:
        """Destroy all of them."""
        for path in [*self._vision.encoders]:
            self.release(path)

    def _load(self, encoder: DeclaredEncoder) -> Context:
        vision, path = self._vision, encoder.path
        vision.runtime.library  # noqa: B018 - raises if there is none
        trial.refuse_set_aside(vision, path)
        ctx, job = Context(path, os.stat(path).st_size, 0, version=files.version(path)), vision.npu.queue.running
        asked = demand.of(ctx)
        vision.memory_guard.check(asked)
        available = vision.memory_guard.machine_available_bytes
        name = cast(c_char_p(os.fsencode(path)), c_void_p)
        with (
            contextlib.nullcontext() if job is None else job.loading()
        ):  # this part of the call takes as long as a load
            item = rknn_trial.of_file(vision, path, 0, 0)
            if item is not None:
                trial.run(vision, item)
            vision.runtime.call("rknn_init", byref(ctx.pointer), name, 0, 0, None, on=ctx)
        if not ctx.pointer:
            raise no_handle("rknn_init", 0, [])
        try:
            self._learn(ctx, encoder)
            if vision.board.core_mask is not None:
                vision.runtime.call("rknn_set_core_mask", ctx.pointer, vision.board.core_mask, on=ctx)
        except BaseException:
            self._destroy(ctx)
            raise
        vision.memory_guard.footprints.learn(asked, available - vision.memory_guard.machine_available_bytes)
        log.info("encoder_loaded", model_path=path, bytes=ctx.size_bytes)
        return ctx

    def _learn(self, ctx: Context, encoder: DeclaredEncoder) -> None:
        """Ask what goes in and out. Raises RuntimeFailure for a model that can't be such an encoder."""
        number = rknn_input_output_num()
        self._ask(ctx, rknn_query_cmd.RKNN_QUERY_IN_OUT_NUM, number)
        if number.n_input != 1 or not 1 <= number.n_output <= _MOST_OUTPUTS:
            raise _unfit(
                encoder,
                f"has {number.n_input} inputs and {number.n_output} outputs, and a vision encoder takes a picture and "
                "returns rows of numbers",
            )
        ctx.inputs, ctx.outputs = [rknn_tensor_attr(index=0)], []
        self._ask(ctx, rknn_query_cmd.RKNN_QUERY_INPUT_ATTR, ctx.inputs[0])
        for index in range(number.n_output):
            ctx.outputs.append(rknn_tensor_attr(index=index))
            self._ask(ctx, rknn_query_cmd.RKNN_QUERY_OUTPUT_ATTR, ctx.outputs[index])
        if ctx.inputs[0].n_elems != encoder.byte_count:
            dims = list(ctx.inputs[0].dims[: ctx.inputs[0].n_dims])
            raise _unfit(
                encoder, f"takes {dims}, and size says {encoder.width} x {encoder.height} pixels: correct that"
            )
        if len({(attr.n_elems, _row(attr)) for attr in ctx.outputs}) != 1 or not _row(ctx.outputs[0]):
            raise _unfit(encoder, "has outputs that are no rows of one length")

    def _ask(self, ctx: Context, command: rknn_query_cmd, answer: rknn_input_output_num | rknn_tensor_attr) -> None:
        self._vision.runtime.call("rknn_query", ctx.pointer, command, byref(answer), sizeof(answer), on=ctx)

    def _give(self, ctx: Context, encoder: DeclaredEncoder, pixels: memoryview) -> None:
        if encoder.mean is None or encoder.std is None:
            data, element = bytearray(pixels), rknn_tensor_type.RKNN_TENSOR_UINT8
        else:
            data, element = normalised(pixels, encoder.mean, encoder.std), rknn_tensor_type.RKNN_TENSOR_FLOAT32
        memory = shared_bytes(data, len(data))
        given = rknn_input(
            index=0, buf=addressof(memory), size=len(data), type=element, fmt=rknn_tensor_format.RKNN_TENSOR_NHWC
        )
        # C copies it.
        self._vision.runtime.call("rknn_inputs_set", ctx.pointer, 1, byref(given), on=ctx)

    def _take(self, ctx: Context) -> list[bytearray]:
        """Return the outputs of the run, as float32."""
        found = [bytearray(4 * attr.n_elems) for attr in ctx.outputs]
        outputs: Array[rknn_output] = (rknn_output * len(found))()
        memories = [shared_bytes(data, len(data)) for data in found]
        for index, memory in enumerate(memories):
            outputs[index] = rknn_output(
                want_float=1, is_prealloc=1, index=index, buf=addressof(memory), size=sizeof(memory)
            )
        call = self._vision.runtime.call
        call("rknn_outputs_get", ctx.pointer, len(found), outputs, rknn_output_extend(frame_id=ctx.run_count), on=ctx)
        call("rknn_outputs_release", ctx.pointer, len(found), outputs, on=ctx)
        return found

    def _destroy(self, ctx: Context) -> None:
        pointer, ctx.pointer = ctx.pointer, rknn_context()
        try:
            self._vision.runtime.call("rknn_destroy", pointer, on=ctx)
        except RpcError as error:
            log.error("encoder_not_released", model_path=ctx.path, error=error.to_json())


def normalised(pixels: memoryview, mean: tuple[float, ...], std: tuple[float, ...]) -> bytearray:
    """Return (pixel - mean) / std of each colour, as float32 in the same order."""
    found = array("f", bytes(4 * len(pixels)))
    for colour in range(_COLOURS):
        values = [(byte - mean[colour]) / std[colour] for byte in range(256)]
        found[colour::_COLOURS] = array("f", map(values.__getitem__, bytes(pixels[colour::_COLOURS])))
    return bytearray(found.tobytes())


def _rows(ctx: Context, outputs: list[bytearray]) -> Tensor:
    """Return the outputs as one tensor: with several of them, each token has the rows of all, one after the other."""
    row = _row(ctx.outputs[0])
    tokens, size = ctx.outputs[0].n_elems // row, 4 * row
    if len(outputs) == 1:
        return Tensor(outputs[0], "float32", (1, tokens, row))
    pieces = (memoryview(data)[token * size : (token + 1) * size] for token in range(tokens) for data in outputs)
    return Tensor(bytearray().join(pieces), "float32", (1, tokens, row * len(outputs)))


def _row(attr: rknn_tensor_attr) -> int:
    """Return how many numbers a row of an output has."""
    return int(attr.dims[attr.n_dims - 1]) if attr.n_dims else 0


def _unfit(encoder: DeclaredEncoder, why: str) -> RuntimeFailure:
    name = os.path.basename(encoder.path)
    return RuntimeFailure(f"The vision encoder {name} {why}.", function="rknn_query", status=0, log=[])
