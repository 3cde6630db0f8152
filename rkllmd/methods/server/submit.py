"""server.submit: run a call detached from the connection, as a job; server.job shows its state and result.

Members beside "method", such as priority, apply to that call. Nothing is streamed: the result has the whole text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.detached import DetachedCall
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.errors import InvalidParams, RpcError
from rkllmd.json_types import Json, JsonObject
from rkllmd.language import conversations
from rkllmd.npu import views
from rkllmd.service import dispatch, preparation
from rkllmd.service.parts import Service
from rkllmd.vision.release import release_client
from rkllmd.wire import jsonrpc

_METHOD: Final = Value("method", {"type": "string", "description": "the method to call, of any kind except instant"})
_PARAMS: Final = Value("params", {"type": ["array", "object"], "description": "its parameters"}, required=False)

PreparedJob = tuple[DetachedCall, jsonrpc.Call, preparation.Prepared]


def _prepare(service: Service, client: Client, outer: jsonrpc.Call, method: str, params: Json = None) -> PreparedJob:
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
    call = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, method, [] if params is None else params, members), None)
    detached = DetachedCall(
        method,
        number=client.number,
        user=client.user,
        name=f"job of {client.describe()}",
        on_end=partial(_ended, service),
    )
    with _below_params():
        prepared = preparation.prepare(service, detached, call)
    call.members = replace(call.members, stream="final")  # an unknown shape is refused nevertheless
    return detached, call, prepared


@method(Kind.INSTANT, [_METHOD, _PARAMS], prepare=_prepare)
def submit(service: Service, invocation: Invocation, prepared: PreparedJob) -> JsonObject:
    """Queue the call, or execute it now if it is an ordered one whose model is idle; return its job.

    Raises the error that the call itself would get, and QueueFull.
    """
    detached, call, inner = prepared
    service.detached_calls.add(detached, service.config.max_jobs, service.config.max_jobs_per_user)
    try:
        with _below_params():
            detached.job = job = dispatch.start(service, detached, call, inner)
    except BaseException:
        service.detached_calls.forget(detached)
        raise
    place = {"position": 0, "estimated_wait_ms": 0.0}
    if job is not None:
        place = views.place(service.npu, job, time.monotonic())
    return {"status": "queued", "job": detached.id, **place}


def _ended(service: Service, detached: DetachedCall) -> None:
    service.detached_calls.keep(detached, service.config.max_job_bytes)
    if service.npu.closing:
        service.events.job_ended(detached)
    else:  # later, so that it follows the answer to server.submit if the call was executed at once
        service.run_soon(partial(service.events.job_ended, detached))
    if detached.number not in service.clients:
        # What it has made belongs to a connection that has gone meanwhile.
        release_client(service.vision, detached.number)
        conversations.forget_client(service.language, detached.number)


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
