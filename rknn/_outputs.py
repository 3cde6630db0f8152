"""rknn_outputs_get and its results: tensors in JSON or by descriptor, the best classes, or a client's memory."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

from rkllmd.abi.c import bytes_at
from rkllmd.abi.json.from_c import shortest
from rkllmd.abi.json.tensors import byte_size, to_numbers
from rkllmd.abi.layouts.rknn import rknn_output, rknn_output_extend, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_qnt_type
from rkllmd.calls.binding.attachments import Attachments, span_of
from rkllmd.calls.declaration import Count, Value
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, RuntimeFailure
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine import shared_memory
from rkllmd.vision import runs
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import release_outputs
from rknn._attributes import check_index, learn_run, shape_of
from rknn._common import dtype_of

WANT_FLOAT: Final = Value(
    "want_float",
    {"type": ["boolean", "integer"], "minimum": 0, "maximum": 1, "description": "Dequantised: float32 outputs."},
    required=False,
    in_c=False,
)
ENCODING: Final = Value(
    "encoding",
    {"enum": ["base64", "array"], "description": "How data is written; array is for people and for small tensors."},
    required=False,
    in_c=False,
)
TOP_K: Final = Value(
    "top_k",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "description": "For classifiers: the k greatest elements of each output instead of its data, dequantised, NaN "
        "last.",
    },
    required=False,
    in_c=False,
)
N_OUTPUTS: Final = Count(
    "n_outputs",
    {"type": ["integer", "null"], "minimum": 1, "description": "The first n; beside outputs, their number."},
    of="outputs",
    alone=True,
    aliases=("num_outputs",),
)
EXTEND: Final = Value(
    "extend",
    {
        "type": ["object", "null"],
        "properties": {
            "frame_id": {"type": "integer", "description": "An out-parameter in C: the result has it."},
            "return_full_data": {"enum": [True], "description": "For clients of the C server: all data is returned."},
        },
        "additionalProperties": False,
    },
    required=False,
)


# Writing so many as JSON, on the event loop, takes a millisecond.
_MOST_NUMBERS: Final = 16_384


def get_outputs(
    vision: Vision,
    invocation: Invocation,
    ctx: Context,
    requests: list[tuple[JsonObject, str]],
    path: str,
    sources: Attachments,
    *,
    encoding: str = "base64",
    top_k: int | None = None,
) -> JsonObject:
    """Get the outputs of the last run, on the worker thread; return them as members of a result.

    ``requests`` are rknn_output objects, each with its path in the client's JSON. The runtime's buffers are held until
    rknn.outputs_release or the next call of this function. Raises InvalidParams, RuntimeFailure.
    """
    release_outputs(vision, ctx, ctx.pointer)
    if not ctx.is_running:
        learn_run(vision.runtime, ctx)  # a preallocated buffer has to be large enough for the shapes of this run
    if len({request.get("index", position) for position, (request, _) in enumerate(requests)}) != len(requests):
        raise InvalidParams(f"{path} names an output twice.", path=path, keyword="uniqueItems")
    outputs = (rknn_output * len(requests))()
    memories = [
        _prepare(outputs[position], ctx, request, position, place, sources)
        for position, (request, place) in enumerate(requests)
    ]
    extend = rknn_output_extend(frame_id=ctx.run_count)
    # The C function waits for a run that does not block.
    runs.wait(
        vision,
        invocation,
        ctx,
        partial(vision.runtime.call, "rknn_outputs_get", ctx.pointer, len(outputs), outputs, extend),
    )
    ctx.outputs_held = outputs
    learn_run(vision.runtime, ctx)
    described = [
        _describe(vision, invocation, ctx, output, request, memory, encoding, top_k)
        for output, (request, _), memory in zip(outputs, requests, memories, strict=True)
    ]
    return {"outputs": described, "frame_id": extend.frame_id}


def _prepare(
    target: rknn_output, ctx: Context, request: JsonObject, position: int, path: str, sources: Attachments
) -> memoryview | None:
    """Fill one rknn_output; return the client's memory that C writes the output to, if the client has named one."""
    target.index = int(request.get("index", position))
    check_index(target.index, len(ctx.outputs), "outputs", f"{path}.index")
    target.want_float = bool(request.get("want_float", False))
    buffer = request.get("buf")
    if not request.get("is_prealloc", buffer is not None):
        return None
    attr = ctx.outputs[target.index]
    needed = byte_size(attr.n_elems, "float32") if target.want_float else max(attr.size, attr.size_with_stride)
    place = _client_memory(buffer, f"{path}.buf", sources, needed)
    target.is_prealloc = True
    target.buf = shared_memory.address_of(place)
    target.size = len(place)
    return place


def _client_memory(buffer: Json, path: str, sources: Attachments, needed: int) -> memoryview:
    """Return the memory that an output is written to. Raises InvalidParams."""
    if not isinstance(buffer, dict) or not ("mem" in buffer) ^ ("fd" in buffer):
        raise InvalidParams(
            f'{path} of a preallocated output must be {{"mem": …}} or {{"fd": …}}.', path=path, keyword="required"
        )
    if "mem" in buffer:
        place = sources.bytes_of(buffer, path)
    else:
        fd = sources.descriptor(buffer, path)
        offset, size = span_of(buffer, shared_memory.size_of(fd, path), path)
        place = shared_memory.map_shared(fd, offset, size, path)
    if len(place) < needed:
        raise InvalidParams(
            f"{path} has {len(place)} bytes, but the output takes {needed}.", path=path, keyword="minimum", limit=needed
        )
    return place


def _describe(
    vision: Vision,
    invocation: Invocation,
    ctx: Context,
    output: rknn_output,
    request: JsonObject,
    place: memoryview | None,
    encoding: str,
    top_k: int | None,
) -> JsonObject:
    attr = ctx.outputs[output.index]
    dtype = "float32" if output.want_float else dtype_of(attr.type)
    name = attr.name.decode("utf-8", "replace")
    described: JsonObject = {"index": output.index, "name": name, "size": output.size}
    if not output.want_float and attr.qnt_type == rknn_tensor_qnt_type.RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC:
        described |= {"scale": shortest(attr.scale), "zp": attr.zp}
    if place is not None:
        return {**described, "dtype": dtype, "shape": shape_of(attr), "buf": request["buf"]}
    if not output.buf:
        raise RuntimeFailure("rknn_outputs_get gave no buffer.", function="rknn_outputs_get", status=0, log=[])
    # Copied or encoded before anything else can run, since the buffer belongs to the runtime.
    data = memoryview(bytes_at(output.buf, output.size)).cast("B")
    shape = _shape(attr, output, dtype)
    count = math.prod(shape)
    if top_k is not None:
        return {**described, **best(to_numbers(data, dtype)[:count], top_k)}
    if encoding == "array":
        check_few(count)
        # Floats are written as short as a float32 is: 0.9, not 0.8999999761581421. A byte holds two int4, so the last
        # one may not belong to the output.
        found = to_numbers(data, dtype)[:count]
        numbers = [shortest(number) if isinstance(number, float) else number for number in found]
        return {**described, "dtype": dtype, "shape": shape, "data": numbers}
    return {**described, **invocation.tensor(data, shape, dtype)}


def _shape(attr: rknn_tensor_attr, output: rknn_output, dtype: str) -> list[int]:
    """Return the output's shape, or a flat one if the runtime gave more bytes than that needs (strides)."""
    if byte_size(attr.n_elems, dtype) == output.size:
        return shape_of(attr)
    return [output.size * 2 if dtype == "int4" else output.size // byte_size(1, dtype)]


def check_few(count: int) -> None:
    """Refuse to write too many numbers as JSON. Raises InvalidParams."""
    if count > _MOST_NUMBERS:
        raise InvalidParams(
            f"The encoding array is for at most {_MOST_NUMBERS} elements: leave it out, or ask for reply_fds.",
            path="$.encoding",
            keyword="maximum",
            limit=_MOST_NUMBERS,
        )


def best(numbers: Sequence[float], count: int) -> JsonObject:
    """Return the greatest elements as members of an output: the best first, equal ones in their order, NaN last.

    ``nan`` is the number of elements that are NaN, if there are any. A score that JSON can't express is null.
    """
    not_numbers = [index for index, number in enumerate(numbers) if number != number]
    skipped = set(not_numbers)
    real = ((index, number) for index, number in enumerate(numbers) if index not in skipped)
    found = heapq.nlargest(count, real, key=lambda pair: (pair[1], -pair[0]))
    top = [{"index": index, "score": _score(number)} for index, number in found]
    top += [{"index": index, "score": None, "nan": True} for index in not_numbers[: count - len(top)]]
    return {"top": top, "nan": len(not_numbers)} if not_numbers else {"top": top}


def _score(number: float) -> float | None:
    """Return a float as short as a float32 is, and an integer unchanged."""
    return shortest(number) if isinstance(number, float) else int(number)


def needs_float(ctx: Context, index: int, *, want_float: bool, top_k: int | None) -> bool:
    """Return whether to ask C for float32: if the client does, or to compare elements that are quantised or real.

    Integers that are not quantised are compared as they are, since float32 does not hold all of them.
    """
    if want_float or top_k is None or not 0 <= index < len(ctx.outputs):
        return want_float
    attr = ctx.outputs[index]
    return "float" in dtype_of(attr.type) or attr.qnt_type != rknn_tensor_qnt_type.RKNN_TENSOR_QNT_NONE


def all_outputs(
    ctx: Context, *, want_float: bool, top_k: int | None = None, count: int | None = None
) -> list[tuple[JsonObject, str]]:
    """Return the requests for the first ``count`` outputs, all of them by default. Raises InvalidParams."""
    if count is not None:
        check_index(count - 1, len(ctx.outputs), "outputs", "$.n_outputs")
    total = len(ctx.outputs) if count is None else count
    return [
        ({"index": index, "want_float": needs_float(ctx, index, want_float=want_float, top_k=top_k)}, "$.outputs")
        for index in range(total)
    ]
