"""How a prepared call begins: it is executed at once, or queued for the NPU; on the event loop.

What happens to a queued one is in ``execution.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rkllmd.calls.binding.written_paths import translate
from rkllmd.calls.declaration import Kind, Part
from rkllmd.calls.failure import as_error
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.calls.results import LATER
from rkllmd.errors import PermissionDenied, RpcError, let_frames_go
from rkllmd.interruption import Interruption
from rkllmd.language.model import Model
from rkllmd.language.models import leaving
from rkllmd.npu.job import Arrival, Job, Together
from rkllmd.npu.load import Load
from rkllmd.service.execution import Execution
from rkllmd.service.parts import Service
from rkllmd.service.preparation import Prepared, check, model_name, most_tokens
from rkllmd.service.sharing import share
from rkllmd.wire.jsonrpc import Call


def start(service: Service, client: Client, call: Call, prepared: Prepared) -> Job | None:
    """Execute an instant call at once, or queue it; return its job if it was queued. Raises RpcError."""
    method = prepared.method
    invocation = Invocation(client, call, method)
    prepared.check_alive("was prepared")
    if prepared.is_complete:
        if method.check is not None:
            check(service, invocation, prepared)
        if method.is_always_inline or _runs_inline(service, invocation, prepared):
            try:
                result = method.call(service.own(method), invocation, **prepared.arguments)
            except RpcError as error:
                translate(error, prepared.given)
                raise
            if result is not LATER:
                client.answer(call, result, invocation.fds)
            return None
    if service.vision.runtime.can_be_interrupted and (method.abort is not None or method.part is Part.VISION):
        invocation.interruption = Interruption()
    job = invocation.job = _job(service, invocation, prepared)
    service.npu.submit(job)
    call.fds.lend()
    return job


def _job(service: Service, invocation: Invocation, prepared: Prepared) -> Job:
    """Return the job that waits in the queue for the call. Raises InvalidParams, PermissionDenied."""
    client, call, method = invocation.client, invocation.call, invocation.method
    execution = Execution(service, invocation, prepared)
    is_generation = method.abort is not None
    name = model_name(service, prepared)
    return Job(
        method.name,
        execution.work,
        execution.done,
        client=client,
        target=prepared.target,
        changes=method.changes,
        user=client.user,
        priority=_priority(service, client, call),
        model_name=name,
        fits_between_tokens=method.may_run_between_tokens(prepared.given),
        proves_npu=method.proves_npu,
        deadlines=service.timeouts.of(method, call.members),
        give_up=partial(client.refuse, call),
        abort=execution.abort if is_generation or invocation.interruption is not None else None,
        is_generation=is_generation,
        is_kept=invocation.interruption is not None and bool(prepared.arguments.get("keep")),
        load=Load(name) if method.loads else None,
        most_tokens=most_tokens(prepared),
        ask=execution.ask,
        together=_together(service, invocation, prepared, execution),
        arrives=_arrives(service, invocation, prepared),
    )


def _arrives(service: Service, invocation: Invocation, prepared: Prepared) -> Callable[[], Arrival] | None:
    """Return what tells which model is loaded for the call; None where none can be."""
    method = prepared.method
    if method.arrives is not None:
        return method.arrives(service.own(method), invocation, **prepared.arguments)
    if not isinstance(prepared.target, Model) or method.changes:
        return None
    return partial(leaving.for_waking, service.language, prepared.target)


def _together(service: Service, invocation: Invocation, prepared: Prepared, execution: Execution) -> Together | None:
    """Return with which others the call may go into one call of C; none if it can't be known before its turn."""
    method = prepared.method
    if method.together is None or not prepared.is_complete:
        return None
    found = method.together(service.own(method), invocation, **prepared.arguments)
    return None if found is None else Together(*found, partial(share, service), execution)


def refuse(client: Client, call: Call, error: Exception) -> None:
    """Answer a call that could not be started."""
    client.refuse(call, error if isinstance(error, RpcError) else as_error(error, call.method))
    let_frames_go(error)  # those of a helper thread refer to the request and to the error


def _priority(service: Service, client: Client, call: Call) -> str:
    """Return the priority that the call asks for. Raises InvalidParams, PermissionDenied."""
    call.members.check("priority")
    priority = call.members.priority
    if priority == "high" and client.user not in service.config.priority_users:
        raise PermissionDenied(
            "Only the users that the configuration trusts (priority_users) may ask for high priority.",
            setting="priority_users",
        )
    return priority


def _runs_inline(service: Service, invocation: Invocation, prepared: Prepared) -> bool:
    """Return whether the daemon knows the answer; C belongs to the worker thread, which is never the event loop."""
    method = prepared.method
    if method.kind is not Kind.INSTANT:
        return False
    return method.known is None or method.known(service.own(method), invocation, **prepared.arguments)
