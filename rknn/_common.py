"""What the function modules share: their handles, enums and bit masks in JSON, and checks of handles."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from rkllmd.abi.json.structs import members_of
from rkllmd.abi.layouts.rknn_constants import rknn_core_mask, rknn_tensor_type
from rkllmd.calls.declaration import Handle, Value
from rkllmd.calls.invocation import Invocation
from rkllmd.config import quotas
from rkllmd.config.quotas import Exceeded
from rkllmd.errors import Cancelled, InvalidParams, PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision

# C calls the same parameter context in some functions and ctx in others: both names are accepted everywhere.
CONTEXT = Handle("context", ("context",), "ctx", aliases=("ctx",))
CTX = Handle("ctx", ("context",), "ctx", aliases=("context",))
# In C a matmul context is an rknn_context too, and memories are made with either.
ANY_CONTEXT = Handle("context", ("context", "matmul"), "ctx", aliases=("ctx",))
ANY_CTX = Handle("ctx", ("context", "matmul"), "ctx", aliases=("context",))
MATMUL = Handle("ctx", ("matmul",), "matmul", aliases=("context",))
MATMUL_CONTEXT = Handle("context", ("matmul",), "matmul", aliases=("ctx",))
MEM = Handle("mem", ("memory",), "mem", required=True)

KEEP = Value(
    "keep",
    {"type": "boolean", "description": "It outlives this connection, and every client may use it."},
    required=False,
    in_c=False,
)


def check_wanted(vision: Vision, invocation: Invocation) -> None:
    """Refuse to give a handle if nobody would ever learn it; the caller then releases what it has made.

    A call that was cancelled or is over its limit may be answered already. Raises Cancelled.
    """
    if invocation.is_cancelled:
        raise Cancelled("The call was cancelled; what it had made was released again.")


def enum_schema(enum: type[IntEnum], description: str = "") -> JsonObject:
    """Return the JSON Schema of an enum: its numbers and C names."""
    members = members_of(enum)
    schema: JsonObject = {"enum": [*dict.fromkeys(members.values()), *members]}
    return {**schema, "description": description} if description else schema


def member_of(enum: type[IntEnum], value: str | int) -> int:
    """Return the number of an enum's member that passed ``enum_schema``."""
    return int(enum[value]) if isinstance(value, str) else int(value)


def flags_schema(flags: Mapping[str, int], description: str) -> JsonObject:
    """Return the JSON Schema of a bit mask: a number, a C name, or an array of names."""
    names = {"type": "array", "items": {"enum": list(flags)}, "maxItems": len(flags)}
    number = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    return {"anyOf": [number, {"enum": list(flags)}, names], "description": description}


def mask_of(flags: Mapping[str, int], value: str | int | list[str]) -> int:
    """Return the number of a bit mask that passed ``flags_schema``."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        mask = 0
        for name in value:
            mask |= int(flags[name])
        return mask
    return int(value)


CORE_MASK = Value("core_mask", enum_schema(rknn_core_mask))


def dtype_of(type_number: int) -> str:
    """Return the wire's name of an rknn_tensor_type: "float32" for RKNN_TENSOR_FLOAT32."""
    return rknn_tensor_type(type_number).name.removeprefix("RKNN_TENSOR_").lower()


def type_of(dtype: str) -> int:
    """Return the rknn_tensor_type of the wire's name."""
    return int(rknn_tensor_type[f"RKNN_TENSOR_{dtype.upper()}"])


def check_own_handles(vision: Vision, invocation: Invocation) -> None:
    """Refuse another object to a connection that has as many as it may have. Raises PermissionDenied."""
    client = invocation.client.number
    owned = sum(len(handles.owned_by(client)) for handles in (vision.contexts, vision.matmuls, vision.memories))
    limit = vision.config.max_handles_per_connection
    if owned >= limit:
        exceeded = Exceeded("max_handles_per_connection", limit, owned, "connection")
        raise _too_many_handles("This connection has", exceeded)


def check_handles(vision: Vision, invocation: Invocation) -> None:
    """Refuse another object where the connection, its user, or all have as many as they may.

    On the worker thread: what a connection has left behind was released by then. Raises PermissionDenied.
    """
    check_own_handles(vision, invocation)
    user, config = invocation.client.user, vision.config
    users = [item.user for handles in (vision.contexts, vision.matmuls, vision.memories) for item in handles]
    is_operator = user is None or config.is_operator(user)
    exceeded = quotas.handles(config).exceeded(users.count(user), len(users), is_operator=is_operator)
    if exceeded is not None:
        raise _too_many_handles(exceeded.have, exceeded)


def _too_many_handles(have: str, exceeded: Exceeded) -> PermissionDenied:
    used, limit = exceeded.used, exceeded.limit
    return PermissionDenied(
        f"{have} {used} contexts and memories, and the limit is {limit} ({exceeded.setting}): destroy some.",
        **exceeded.data,
    )


def check_belongs(mem: TensorMemory, ctx: Context | Matmul | None) -> None:
    """Refuse a memory that was made with another context; one without a context takes any. Raises InvalidParams."""
    if mem.parent is not None and mem.parent is not ctx:
        number = None if ctx is None else ctx.number
        raise InvalidParams("$.mem was made with another context.", path="$.mem", keyword="const", limit=number)
