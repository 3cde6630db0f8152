"""rknn_query: what a context is and does, as a typed object.

C: int rknn_query(rknn_context context, rknn_query_cmd cmd, void *info, uint32_t size)

Answered at once from what was learned when the model was loaded; only dynamic ranges, performance and native layouts
after rknn.set_input_shapes are asked of the runtime, on the worker thread.
"""

from __future__ import annotations

from typing import Any

from rkllmd.abi.c import string_at
from rkllmd.abi.json.rknn_structs import describe, describe_perf, describe_range
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rknn._attributes import INPUT_COMMANDS, OUTPUT_COMMANDS, ask, check_index
from rknn._common import CONTEXT, enum_schema, member_of

_INDEX = {"type": "integer", "minimum": 0, "description": "Which input or output."}
_INFO = Value(
    "info",
    {
        "type": ["object", "null"],
        "properties": {"index": _INDEX},
        "additionalProperties": False,
        "description": "As in C: where an input or output is asked for, its index.",
    },
    required=False,
)


def _question(
    ctx: Context, cmd: Any, info: dict[str, Any] | None = None, index: int | None = None
) -> tuple[rknn_query_cmd, int]:
    """Return what is asked. Raises InvalidParams, NotSupported."""
    command = rknn_query_cmd(member_of(rknn_query_cmd, cmd))
    if command is rknn_query_cmd.RKNN_QUERY_DEVICE_MEM_INFO:
        raise NotSupported(
            f"rknn_api.h names no answer to {command.name}.", runtime="rknn 2.3.2", needs="another command"
        )
    if info and index is not None:
        raise InvalidParams("index is given twice.", path="$.index", keyword="uniqueItems")
    number = (info or {}).get("index", index) or 0
    if command in INPUT_COMMANDS:
        check_index(number, len(ctx.inputs), "inputs", "$.index")
    elif command in OUTPUT_COMMANDS:
        check_index(number, len(ctx.outputs), "outputs", "$.index")
    else:
        number = 0
    return command, number


def _is_known(vision: Vision, invocation: Invocation, ctx: Context, **question: Any) -> bool:
    command, index = _question(ctx, **question)
    # What a run that was sent before makes of it is known after that run.
    is_changing = command is rknn_query_cmd.RKNN_QUERY_CURRENT_OUTPUT_ATTR and vision.runtime.shapes_follow_values
    if is_changing and vision.npu.queue.uses(ctx):
        return False
    return (command, index) in ctx.answers


@method(
    Kind.INSTANT,
    [
        CONTEXT,
        Value("cmd", enum_schema(rknn_query_cmd)),
        _INFO,
        COnly("size"),
        Value("index", _INDEX, required=False, in_c=False),
    ],
    known=_is_known,
)
def query(vision: Vision, invocation: Invocation, ctx: Context, **question: Any) -> dict[str, Any]:
    """Return the answer with C's field names; enums by their C names."""
    command, index = _question(ctx, **question)
    answer = ctx.answers.get((command, index))
    if answer is None:
        answer = ask(vision.runtime, ctx, command, index)
    if command is rknn_query_cmd.RKNN_QUERY_INPUT_DYNAMIC_RANGE:
        return describe_range(answer)
    if command is rknn_query_cmd.RKNN_QUERY_PERF_DETAIL:
        # The text is the runtime's and lives until its next answer: read here, on the worker thread.
        size = min(answer.data_len, _MOST_TEXT)
        text = string_at(answer.perf_data, size) if answer.perf_data else b""
        return describe_perf(text.decode("utf-8", "replace"))
    return describe(answer)


# A table has one line for each layer.
_MOST_TEXT = 4 * 2**20
