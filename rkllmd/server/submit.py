"""server.submit: run a call detached from the connection; server.job tells what became of it.

Members beside "method", such as priority, are those of the call. Nothing is streamed: the result has the whole text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from rkllmd import conversations, dispatch, jsonrpc, progress
from rkllmd.context import Client, Context, Invocation
from rkllmd.errors import InvalidParams, RpcError
from rkllmd.inference import STREAM_SHAPES
from rkllmd.jobs import DetachedCall
from rkllmd.method import Kind, Value, method
from rkllmd.rknn_release import release_client

_METHOD: Final = Value("method", {"type": "string", "description": "the method to call, of any kind but instant"})
_PARAMS: Final = Value("params", {"type": ["array", "object"], "description": "its parameters"}, required=False)

Prepared = tuple[DetachedCall, jsonrpc.Call, dispatch.Prepared]


def _prepare(context: Context, client: Client, outer: jsonrpc.Call, method: str, params: Any = None) -> Prepared:
    """Prepare the call inside, so that what is wrong with it is said at once. Raises as ``dispatch.prepare``."""
    for member in ("fds", "reply_fds"):
        if outer.members.get(member):
            raise InvalidParams(
                "A job neither takes nor gives file descriptors, since it has no connection: send tensors as base64, "
                "or refer to a tensor memory.",
                member=member,
                keyword="const",
            )
    found = context.methods.get(method)
    if found is not None and found.kind is Kind.INSTANT:
        raise InvalidParams(
            f"{method} is answered at once: call it directly.",
            path="$.method",
            keyword="enum",
            limit=[kind.value for kind in Kind if kind is not Kind.INSTANT],
        )
    members = {name: value for name, value in outer.members.items() if name not in ("fds", "reply_fds")}
    call = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, method, [] if params is None else params, members), None)
    detached = DetachedCall(
        method,
        number=client.number,
        user=client.user,
        name=f"job of {client.describe()}",
        on_end=partial(_ended, context),
    )
    with _below_params():
        prepared = dispatch.prepare(context, detached, call)
    if call.members.get("stream", "final") in STREAM_SHAPES:  # else it is refused like everywhere
        call.members = {**call.members, "stream": "final"}
    return detached, call, prepared


@method(Kind.INSTANT, [_METHOD, _PARAMS], prepare=_prepare)
def submit(invocation: Invocation, prepared: Prepared) -> dict[str, Any]:
    """Queue the call, or execute it now if it is an ordered one whose model is idle; return its job.

    Raises what the call itself would be refused with, and QueueFull.
    """
    context, (detached, call, inner) = invocation.context, prepared
    context.jobs.add(detached, context.config.max_jobs, context.config.max_jobs_per_user)
    try:
        with _below_params():
            detached.job = job = dispatch.start(context, detached, call, inner)
    except BaseException:
        context.jobs.forget(detached)
        raise
    place = {"position": 0, "estimated_wait_ms": 0.0}
    if job is not None:
        place = progress.place(context.npu, job, time.monotonic())
    return {"status": "queued", "job": detached.id, **place}


def _ended(context: Context, detached: DetachedCall) -> None:
    context.jobs.keep(detached, context.config.max_job_bytes)
    if context.npu.closing:
        context.events.job_ended(detached)
    else:  # behind the answer to server.submit, if the call was executed at once
        context.run_soon(partial(context.events.job_ended, detached))
    if detached.number not in context.clients:
        # What it has made belongs to a connection that was gone by then.
        release_client(context, detached.number)
        conversations.forget_client(context, detached.number)


@contextmanager
def _below_params() -> Iterator[None]:
    """Let the path of an error lead to what the client has sent: the call's parameters are inside ours."""
    try:
        yield
    except RpcError as error:
        path = error.data.get("path")
        if isinstance(path, str) and path.startswith("$"):
            error.data["path"] = f"$.params{path[1:]}"
        raise
