"""server.submit: run a call detached from the connection, as a job; server.job shows its state and result.

Members beside "method", such as priority, apply to that call. Nothing is streamed: the result has the whole text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.calls.results import LATER
from rkllmd.errors import InvalidParams, RpcError
from rkllmd.json_types import Json, JsonObject
from rkllmd.service import jobs, preparation
from rkllmd.service.parts import Service
from rkllmd.wire import jsonrpc, long_strings

_METHOD: Final = Value("method", {"type": "string", "description": "the method to call, of any kind except instant"})
_PARAMS: Final = Value("params", {"type": ["array", "object"], "description": "its parameters"}, required=False)

_RETRY: Final = Value(
    "retry",
    {"type": "boolean", "description": "Begin it once more if the daemon ends while it runs."},
    required=False,
    in_c=False,
)

PreparedJob = tuple[DetachedCall, jsonrpc.Call, preparation.Prepared]


def _prepare(
    service: Service, client: Client, outer: jsonrpc.Call, method: str, params: Json = None, retry: bool = False
) -> PreparedJob:
    """Prepare the inner call, so that its mistakes are reported at once. Raises what ``preparation.prepare`` raises."""
    for member, is_asked in (("fds", bool(outer.members.fds)), ("reply_fds", outer.members.reply_fds)):
        if is_asked:
            raise InvalidParams(
                "A job can neither take nor return file descriptors, since it has no connection: send tensors as "
                "base64, or refer to a tensor memory.",
                member=member,
                keyword="const",
            )
    found = service.methods.get(method)
    if found is not None and found.kind is Kind.INSTANT:
        raise InvalidParams(
            f"{method} is answered at once: call it directly.",
            path="$.method",
            keyword="enum",
            limit=[kind.value for kind in Kind if kind is not Kind.INSTANT],
        )
    members = {name: value for name, value in outer.members.given.items() if name not in ("fds", "reply_fds")}
    given = [] if params is None else params
    # Before it is bound, which may take members out of it.
    request = _encoded(given, members) if service.detached_calls.are_lasting else None
    call = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, method, given, members), None)
    detached = DetachedCall(
        method,
        number=client.number,
        user=client.user,
        groups=client.groups,
        name=f"job of {client.describe()}",
        on_end=partial(jobs.ended, service),
    )
    with _below_params():
        prepared = preparation.prepare(service, detached, call)
    call.members = replace(call.members, stream="final")  # an unknown shape is refused nevertheless
    if request is not None:
        detached.take_record(jobs.record(detached, request, prepared, retry=retry))
    return detached, call, prepared


@method(Kind.INSTANT, [_METHOD, _PARAMS, _RETRY], prepare=_prepare)
def submit(service: Service, invocation: Invocation, prepared: PreparedJob) -> JsonObject | object:
    """Queue the call; its job is answered when not even a power cut can undo that.

    Raises the error that the call itself would get, and QueueFull; the answer may also be NotKept.
    """
    detached, call, inner = prepared

    def then(told: JsonObject | RpcError) -> None:
        if isinstance(told, RpcError):
            invocation.client.refuse(invocation.call, told)
        else:
            invocation.client.answer(invocation.call, told)

    with _below_params():
        jobs.submit(service, detached, call, inner, then, invocation.call.holding)
    return LATER


@contextmanager
def _below_params() -> Iterator[None]:
    """Let the path of an error begin at our own parameters, which contain those of the inner call."""
    try:
        yield
    except RpcError as error:
        path = error.data.get("path")
        if isinstance(path, str) and path.startswith("$"):
            error.data["path"] = f"$.params{path[1:]}"
        raise


def _encoded(params: Json, members: JsonObject) -> bytes:
    """Return the call as the store has it."""
    encoded = long_strings.dumps({"params": params, "members": members}, as_sent=True)
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)
