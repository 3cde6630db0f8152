"""Calls that are detached from their connection (server.submit): how they begin, and go on after a restart.

Where there is a store, a job is in it before its client is told so, and its beginning before it begins. The next daemon
therefore knows which have not begun: it does them, in the order in which they were submitted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from rkllmd.calls.arguments import Converted
from rkllmd.calls.detached.call import MOST_BEGINS, DetachedCall
from rkllmd.calls.failure import as_error
from rkllmd.config import quotas
from rkllmd.errors import Crashed, NotKept, RpcError
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.models.bringing_back import Returning, bring_back
from rkllmd.npu import queue as npu_queue
from rkllmd.npu import views
from rkllmd.service import dispatch, preparation
from rkllmd.store.jobs import Bounds, KeptJob
from rkllmd.vision.release import release_client
from rkllmd.wire import jsonrpc, long_strings
from rkllmd.wire.credentials import groups_of_user
from rkllmd.wire.long_strings import LongJson

if TYPE_CHECKING:
    from rkllmd.json_types import JsonObject
    from rkllmd.service.parts import Service
    from rkllmd.wire.budget import Holding
    from rkllmd.wire.jsonrpc import Call

log = structlog.get_logger()

# A member of this name in any object: as a string it would have no colon behind it.
_MEMORY: Final = b'"mem":'
_UNLIMITED: Final = npu_queue.Limits(sys.maxsize, sys.maxsize, sys.maxsize)


def ended(service: Service, detached: DetachedCall) -> None:
    """Keep how a detached call has ended, and let go of what belongs to nobody any more."""
    if detached.holding is not None:
        detached.holding.release()
    service.count_call(detached.method, "ok" if detached.error is None else detached.error["data"]["kind"])
    service.detached_calls.keep(detached, service.config.max_job_bytes)
    if service.npu.closing:
        service.events.job_ended(detached)
    else:  # behind the answer to server.submit
        detached.when_promised(partial(service.run_soon, partial(service.events.job_ended, detached)))
    if detached.number not in service.clients:
        # What it has made belongs to a connection that was gone by then.
        release_client(service.vision, detached.number)
        conversations.forget_client(service.language, detached.number)


def submit(
    service: Service,
    detached: DetachedCall,
    call: Call,
    prepared: preparation.Prepared,
    then: Callable[[JsonObject | RpcError], None],
    holding: Holding | None = None,
) -> None:
    """Queue the call, and tell ``then`` what server.submit answers, when the job can be promised; on the event loop.

    Raises what the call itself would be refused with, and QueueFull.
    """
    config, calls = service.config, service.detached_calls
    detached.expect_promise()
    is_operator = config.is_operator(detached.user)
    calls.add(detached, Bounds(quotas.jobs(config), quotas.job_bytes(config), is_operator))

    def promised(reason: str | None) -> None:  # on any thread
        detached.unkept_reason = reason
        if calls.are_lasting:
            service.run_soon(partial(_answer, service, detached, place, reason, then))

    place: JsonObject = {"position": 0, "estimated_wait_ms": 0.0}
    # First: what happens to the call is written behind this.
    calls.promise(detached, promised)
    try:
        job = detached.job = dispatch.start(service, detached, call, prepared)
    except BaseException:
        calls.forget(detached)
        raise
    if holding is not None and not detached.ended.is_set():
        detached.holding = holding.share()
    if job is not None:
        place |= views.place(service.npu, job, time.monotonic())
    if not calls.are_lasting:
        _answer(service, detached, place, None, then)


def _answer(
    service: Service,
    detached: DetachedCall,
    place: JsonObject,
    reason: str | None,
    then: Callable[[JsonObject | RpcError], None],
) -> None:
    if reason is None:
        then({"status": "queued", "job": detached.id, **place})
        detached.keep_promise()
        return
    if detached.job is not None:
        service.npu.cancel(detached.job)
    service.detached_calls.forget(detached)
    then(
        NotKept(
            f"The job can't be kept until it is done: {reason} ({service.store.path}). Make room there, or call "
            f"{detached.method} over a connection.",
            reason=reason,
        )
    )


def record(detached: DetachedCall, request: bytes, prepared: preparation.Prepared, *, retry: bool) -> KeptJob:
    """Return what the store is to have of a call that is about to be submitted."""
    objects = [] if prepared.objects is None else [item for item in prepared.objects if item is not None]
    model = next((item.number for item in objects if isinstance(item, Model)), None)
    return KeptJob(
        detached.id,
        detached.user,
        detached.number,
        detached.describe(),
        detached.method,
        request,
        model=model,
        # RKNN's objects end with the daemon, and a tensor memory is one of them.
        is_bound=any(not isinstance(item, Model) for item in objects) or _MEMORY in request,
        retry=retry,
    )


# -- after a restart ---------------------------------------------------------------------------------------------------


def bring_back_models(service: Service, kept: Sequence[KeptJob], *, because: bool) -> list[Returning]:
    """Make the models that were loaded again, asleep, for the jobs of earlier daemons, or ``because`` of a crash.

    Return those that are to be loaded at once.
    """
    if not because and all(job.has_ended for job in kept):
        service.language.remembered.clear()
        return []
    found = bring_back(service.language)
    return [item for item in found if item.was_awake] if because else []


def resume(service: Service, kept: Sequence[KeptJob]) -> None:
    """Take the jobs of earlier daemons: results that were not read, calls that had begun, calls that had not.

    Those that had not begun are queued, for the models that were loaded. Before anybody can connect.
    """
    # Numbers that no connection has; calls of one connection still share a conversation.
    numbers: dict[int, int] = {}
    queue = service.npu.queue
    limits, queue.limits = queue.limits, _UNLIMITED  # they were taken before
    try:
        for job in kept:
            _resume(service, job, numbers.setdefault(job.connection, -len(numbers) - 1))
    finally:
        queue.limits = limits
    service.detached_calls.fit(service.config.max_job_bytes)
    if kept:
        counts = {"waiting": len(queue), "kept": len(service.detached_calls)}
        log.info("jobs_taken_over", **counts)


def _resume(service: Service, job: KeptJob, number: int) -> None:
    detached = DetachedCall(
        job.method,
        number=number,
        user=job.user,
        groups=groups_of_user(job.user),
        name=job.client,
        on_end=partial(ended, service),
        kept=job,
    )
    service.detached_calls.restore(detached)
    if job.has_ended:
        error = None if job.error is None else orjson.loads(job.error)
        detached.take_ending(None if job.result is None else LongJson(job.result), error, job.elapsed_ms)
    elif job.is_waiting and job.is_bound:
        reason = "What it was for, an RKNN context or memory, was gone before it could begin."
        detached.end(None, _lost(service, job, reason))
    elif job.is_waiting or (job.retry and job.begun < MOST_BEGINS):
        if not job.is_waiting:
            service.detached_calls.begin_anew(detached)
        _queue(service, detached, job)
    else:
        detached.end(None, _lost(service, job, f"The daemon ended while {job.method} ran."))


def _queue(service: Service, detached: DetachedCall, job: KeptJob) -> None:
    """Queue a call as it was submitted; what stands against it now is its error."""
    request = long_strings.loads(job.request or b"")
    call = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, job.method, request["params"], request["members"]), None)
    try:
        prepared = preparation.prepare(service, detached, call, model=job.model)
        call.members = replace(call.members, stream="final")
        if _goes_on(prepared) and call.members.session is None:
            service.language.unaware.add(detached.number)
        detached.job = dispatch.start(service, detached, call, prepared)
    except Exception as error:
        detached.end(None, as_error(error, job.method).to_json())


def _goes_on(prepared: preparation.Prepared) -> bool:
    """Return whether the call is a turn of a conversation that is in the KV cache alone, and so was lost."""
    infer_params = prepared.arguments.get("rkllm_infer_params")
    return isinstance(infer_params, Converted) and bool(infer_params.c.keep_history)


def _lost(service: Service, job: KeptJob, sentence: str) -> JsonObject:
    log.warning("job_lost", job=job.id, method=job.method, client=job.client, begun=job.begun, reason=sentence)
    again = "" if job.retry else ' A job that may begin twice is submitted with "retry": true.'
    return Crashed(f"{sentence}{again if job.begun else ''}", begun=job.begun, crash=service.crashes.fresh).to_json()
