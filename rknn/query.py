"""rknn_query: the properties of a context, as a typed object.

C: int rknn_query(rknn_context context, rknn_query_cmd cmd, void *info, uint32_t size)

It is answered at once from what was learned when the model was loaded. Only for dynamic ranges, performance, and native
layouts after rknn.set_input_shapes the runtime is asked, on the worker thread.
"""

from __future__ import annotations

from rkllmd.abi.c import string_at
from rkllmd.abi.json.rknn_structs import describe, describe_perf, describe_range
from rkllmd.abi.layouts.rknn import rknn_input_range, rknn_perf_detail
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd
from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import Json, JsonObject
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
        "description": "As in C: the index of the input or output, if the question is about one.",
    },
    required=False,
)


def _question(
    ctx: Context, cmd: str | int, info: JsonObject | None = None, index: int | None = None
) -> tuple[rknn_query_cmd, int]:
    """Return the command and the index. Raises InvalidParams, NotSupported."""
    command = rknn_query_cmd(member_of(rknn_query_cmd, cmd))
    if command is rknn_query_cmd.RKNN_QUERY_DEVICE_MEM_INFO:
        raise NotSupported(
            f"rknn_api.h names no struct for the answer to {command.name}.",
            runtime="rknn 2.3.2",
            needs="another command",
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


def _is_known(vision: Vision, invocation: Invocation, ctx: Context, **question: Json) -> bool:
    command, index = _question(ctx, **question)
    # A run that was sent before this question may change the answer, so it is known only after that run.
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
def query(vision: Vision, invocation: Invocation, ctx: Context, **question: Json) -> JsonObject:
    """Return the answer with C's field names, and enums as C names."""
    command, index = _question(ctx, **question)
    answer = ctx.answers.get((command, index))
    if answer is None:
        answer = ask(vision.runtime, ctx, command, index)
    if isinstance(answer, rknn_input_range):
        return describe_range(answer)
    if isinstance(answer, rknn_perf_detail):
        # The text belongs to the runtime and lives until its next answer, so it is read here, on the worker thread.
        size = min(answer.data_len, _MOST_TEXT)
        text = string_at(answer.perf_data, size) if answer.perf_data else b""
        return describe_perf(text.decode("utf-8", "replace"))
    return describe(answer)


# A table has one line for each layer.
_MOST_TEXT = 4 * 2**20
