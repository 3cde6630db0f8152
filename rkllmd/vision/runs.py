"""RKNN runs that do not block (rknn_run with non_block): which calls wait for their end, and what ends them early.

The vendor's NPU does one thing at a time and can't be interrupted, so the next call of any kind waits for such a run.
On the portable runtime these runs are threads of this process: there, nobody waits for another client's run, and a run
ends early at the time limit of its rknn.run, when its client cancels a wait for it, and with its context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import outcome

from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.errors import Cancelled, RuntimeFailure
from rkllmd.interruption import Interruption, is_interrupted, obeying
from rkllmd.vision.detached_run import DetachedRun

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Invocation
    from rkllmd.vision.objects import Context
    from rkllmd.vision.parts import Vision


def run(vision: Vision, invocation: Invocation, ctx: Context, extend: rknn_run_extend) -> None:
    """Call rknn_run, on the worker thread. Raises RuntimeFailure."""
    rknn = vision.runtime
    ctx.ended = None
    if not extend.non_block or invocation.interruption is None:
        rknn.call("rknn_run", ctx.pointer, extend)
        ctx.is_running = bool(extend.non_block)
        return
    deadlines = None if invocation.job is None else invocation.job.deadlines
    # Not the call's own interruption, which ends with the call's answer.
    detached = DetachedRun(Interruption(), math.inf if deadlines is None else deadlines.first)
    with obeying(detached.interruption):
        rknn.call("rknn_run", ctx.pointer, extend)
    ctx.is_running, ctx.detached = True, detached
    if detached.seconds < math.inf:
        vision.run_soon(detached.watch)


def wait(vision: Vision, invocation: Invocation, ctx: Context, call: Callable[[], None]) -> None:
    """Make a C call that waits for the run's end, on the worker thread; if the call is cancelled, the run is stopped.

    Raises Cancelled, Timeout if the run was longer than its limit, RuntimeFailure.
    """
    detached = ctx.detached
    try:
        call()
    except RuntimeFailure:
        if is_interrupted():
            stop(vision, ctx)
            raise Cancelled("The call was cancelled, and the run that it waited for was stopped.") from None
        if detached is None or detached.timeout is None:
            raise
        _note_end(vision, ctx)
        raise detached.timeout from None
    _note_end(vision, ctx)


def stop(vision: Vision, ctx: Context) -> None:
    """Stop a context's run if the runtime can do that; nobody waits for it any more."""
    if ctx.detached is None:
        return
    ctx.detached.interruption.set()
    _note_end(vision, ctx)
    ctx.ended = outcome.Error(Cancelled("The run was stopped: the call that waited for it was cancelled."))


def finish(vision: Vision, invocation: Invocation | None = None) -> None:
    """Wait for the runs that a call has to wait for, on the worker thread; without ``invocation``, for all of them.

    Raises Cancelled; the runs go on then.
    """
    for item in _concerned(vision, invocation):
        extend = rknn_run_extend(frame_id=item.run_count, timeout_ms=-1, fence_fd=-1)
        ended = outcome.capture(vision.runtime.call, "rknn_wait", item.pointer, extend, on=item)
        if is_interrupted():
            raise Cancelled("The call was cancelled while it waited for a run that does not block.")
        if item.detached is not None and item.detached.timeout is not None:
            ended = outcome.Error(item.detached.timeout)
        _note_end(vision, item)
        item.ended = ended


def has_ended(ctx: Context) -> bool:
    """Return whether the daemon has waited for the context's run already. Raises the run's error if it failed."""
    ended, ctx.ended = ctx.ended, None
    if ended is None:
        return False
    try:
        ended.unwrap()
    finally:
        del ended  # the error's traceback refers to this frame
    return True


def _concerned(vision: Vision, invocation: Invocation | None) -> Iterator[Context]:
    running = [item for item in vision.contexts if item.is_running]
    if not vision.runtime.can_be_interrupted or not running:
        yield from running
        return
    if invocation is None or invocation.interruption is None:
        return
    target = None if invocation.job is None else invocation.job.target
    own = vision.contexts.owned_by(invocation.client.number)
    yield from (item for item in running if item is target or item in own)


def _note_end(vision: Vision, ctx: Context) -> None:
    ctx.is_running = False
    detached, ctx.detached = ctx.detached, None
    if detached is not None:
        vision.run_soon(detached.unwatch)
