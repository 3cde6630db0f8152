"""What rknn.run and rknn.infer share: inputs that come with the call, and the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rkllmd.abi.json import schemas
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.calls.declaration import StructParameter, Value
from rkllmd.errors import InvalidParams
from rkllmd.vision import runs
from rknn._attributes import as_now, bytes_needed, learn_run

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.calls.binding.params import Given
    from rkllmd.calls.invocation import Invocation
    from rkllmd.vision.objects import Context
    from rkllmd.vision.parts import Vision

INPUT_DATA: Final = Value(
    "input_data",
    {**schemas.TENSOR, "description": "As inputs."},
    required=False,
    in_c=False,
    is_tensor=True,
)
INPUTS: Final = Value(
    "inputs",
    {
        "type": schemas.TENSOR["type"],
        "description": "A tensor, one rknn_input, or an array of these, one for each input: set before the run.",
    },
    required=False,
    in_c=False,
    is_tensor=True,
)
EXTEND: Final = StructParameter("extend", "rknn_run_extend", required=False, raw=True)


def either(inputs: Converted | None, input_data: Converted | None) -> Converted | None:
    """Return the inputs that come with a call, under either of their names. Raises InvalidParams for both."""
    if inputs is not None and input_data is not None:
        raise InvalidParams("input_data and inputs are the same.", path="$.input_data", keyword="oneOf")
    return input_data or inputs


def check_bindings(ctx: Context) -> None:
    """Refuse a run with a memory that is destroyed, or has become too small for new shapes. Raises InvalidParams."""
    if any(not memory.is_alive for memory in ctx.outside):
        raise InvalidParams(
            "The memory in which the context keeps its weights or intermediate results was destroyed.",
            path="$",
            keyword="mem",
        )
    for (is_output, index), (memory, attr) in ctx.bindings.items():
        name = f"{'output' if is_output else 'input'} {index}"
        if not memory.is_alive:
            raise InvalidParams(
                f"The memory that {name} was bound to was destroyed: bind another one with rknn.set_io_mem.",
                path="$",
                keyword="mem",
            )
        needed = bytes_needed(attr, as_now(ctx, attr, output=is_output))
        if memory.size < needed:
            raise InvalidParams(
                f"{name} now needs {needed} bytes, but the memory that it was bound to has {memory.size}.",
                path="$",
                keyword="minimum",
                limit=needed,
            )


def ends_when_it_returns(given: Mapping[str, Given]) -> bool:
    """Return whether the run of a call with these parameters has ended when the call returns (no non_block)."""
    extend = given.get("extend")
    return extend is None or not isinstance(extend.value, dict) or not extend.value.get("non_block")


def run_extend(extend: Converted | None) -> rknn_run_extend:
    """Return the rknn_run_extend for a run; a fence is a descriptor that the client has sent. Raises InvalidParams."""
    if extend is None:
        return rknn_run_extend(fence_fd=-1)
    fields = {name: value for name, value in extend.json.items() if name != "fence_fd"}
    struct = to_c(fields, rknn_run_extend, extend.path, extend.keep)
    struct.fence_fd = -1
    if "fence_fd" in extend.json:
        struct.fence_fd = extend.sources.descriptor(extend.json["fence_fd"], f"{extend.path}.fence_fd")
    return struct


def run_once(vision: Vision, invocation: Invocation, ctx: Context, extend: rknn_run_extend) -> None:
    """Run the model, on the worker thread. Raises InvalidParams, RuntimeFailure."""
    check_bindings(ctx)
    runs.run(vision, invocation, ctx, extend)
    ctx.run_count += 1
    for command in (rknn_query_cmd.RKNN_QUERY_PERF_RUN, rknn_query_cmd.RKNN_QUERY_PERF_DETAIL):
        ctx.answers.pop((command, 0), None)
    if not ctx.is_running:
        learn_run(vision.runtime, ctx)
