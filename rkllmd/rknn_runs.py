"""RKNN runs that do not block (rknn_run with non_block): who waits for their end, and what ends one that does not.

The vendor's NPU does one thing at a time and can't be interrupted, so whatever comes next waits for such a run. The
portable runtime's are threads of this process: nobody waits for another client's there, and one ends at the limit of
time that rknn.run had, when its client cancels the wait for it, and with its context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import outcome
import structlog
import trio

from rkllmd.abi.rknn import rknn_run_extend
from rkllmd.errors import Cancelled, RuntimeFailure, Timeout
from rkllmd.interruption import Interruption, is_interrupted, obeying

if TYPE_CHECKING:
    from rkllmd.context import Context, Invocation
    from rkllmd.rknn_handles import Context as RknnContext

log = structlog.get_logger()


@dataclass(eq=False)
class DetachedRun:
    """A run that goes on when its call is answered; ``seconds``: how long it may, ``timeout``: that it was longer."""

    interruption: Interruption
    seconds: float
    timeout: Timeout | None = None
    _patience: trio.CancelScope = field(default_factory=trio.CancelScope)

    def watch(self) -> None:
        """Stop the run when its time is over; called on the event loop."""
        trio.lowlevel.spawn_system_task(self._stop_in_time)

    def unwatch(self) -> None:
        """Forget the time: the run has ended, or is waited for no more; called on the event loop."""
        self._patience.cancel()

    async def _stop_in_time(self) -> None:
        with self._patience:
            await trio.sleep(self.seconds)
            limit = round(self.seconds * 1000)
            self.timeout = Timeout(
                f"The run took longer than it may ({limit} ms).", limit_ms=limit, elapsed_ms=float(limit)
            )
            log.warning("call_timed_out", method="rknn.run", **self.timeout.data)
            self.interruption.set()


def run(invocation: Invocation, ctx: RknnContext, extend: Any) -> None:
    """Call rknn_run, on the worker thread. Raises RuntimeFailure."""
    context, rknn = invocation.context, invocation.rknn
    ctx.ended = None
    if not extend.non_block or invocation.interruption is None:
        rknn.call("rknn_run", ctx.pointer, extend)
        ctx.is_running = bool(extend.non_block)
        return
    deadlines = None if invocation.job is None else invocation.job.deadlines
    # Another one than the call's: that ends with its answer.
    detached = DetachedRun(Interruption(), math.inf if deadlines is None else deadlines.first)
    with obeying(detached.interruption):
        rknn.call("rknn_run", ctx.pointer, extend)
    ctx.is_running, ctx.detached = True, detached
    if detached.seconds < math.inf:
        context.run_soon(detached.watch)


def wait(invocation: Invocation, ctx: RknnContext, call: Callable[[], None]) -> None:
    """Make a call that waits for the run's end, on the worker thread; if it is cancelled, the run ends.

    Raises Cancelled, Timeout where the run was longer than it may, RuntimeFailure.
    """
    detached = ctx.detached
    try:
        call()
    except RuntimeFailure:
        if is_interrupted():
            stop(invocation.context, ctx)
            raise Cancelled("The call was cancelled, and the run that it waited for was stopped.") from None
        if detached is None or detached.timeout is None:
            raise
        _note_end(invocation.context, ctx)
        raise detached.timeout from None
    _note_end(invocation.context, ctx)


def stop(context: Context, ctx: RknnContext) -> None:
    """End a context's run where the runtime can; nobody will wait for it."""
    if ctx.detached is None:
        return
    ctx.detached.interruption.set()
    _note_end(context, ctx)
    ctx.ended = outcome.Error(Cancelled("The run was stopped: the call that waited for it was cancelled."))


def finish(context: Context, invocation: Invocation | None = None) -> None:
    """Wait for the runs whose end a call needs, on the worker thread; without one, for all of them.

    Raises Cancelled: the runs go on then.
    """
    for item in _concerned(context, invocation):
        extend = rknn_run_extend(frame_id=item.runs, timeout_ms=-1, fence_fd=-1)
        ended = outcome.capture(context.rknn_runtime.call, "rknn_wait", item.pointer, extend)
        if is_interrupted():
            raise Cancelled("The call was cancelled while it waited for a run that does not block.")
        if item.detached is not None and item.detached.timeout is not None:
            ended = outcome.Error(item.detached.timeout)
        _note_end(context, item)
        item.ended = ended


def tell_end(ctx: RknnContext) -> bool:
    """Return whether the daemon has waited for a run already. Raises how that ended, if it failed."""
    ended, ctx.ended = ctx.ended, None
    if ended is None:
        return False
    try:
        ended.unwrap()
    finally:
        del ended  # the error's traceback refers to this frame
    return True


def _concerned(context: Context, invocation: Invocation | None) -> Iterator[RknnContext]:
    running = [item for item in context.contexts if item.is_running]
    if not context.rknn_runtime.can_be_interrupted or not running:
        yield from running
        return
    if invocation is None or invocation.interruption is None:
        return
    target = None if invocation.job is None else invocation.job.target
    own = context.contexts.owned_by(invocation.client.number)
    yield from (item for item in running if item is target or item in own)


def _note_end(context: Context, ctx: RknnContext) -> None:
    ctx.is_running = False
    detached, ctx.detached = ctx.detached, None
    if detached is not None:
        context.run_soon(detached.unwatch)
