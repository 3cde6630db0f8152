"""Calls of C that can't wait until the worker is free, on a thread of their own, one after the other: ``rkllm_abort``.

The event loop never goes into C: a call that does not return would stop it for everybody. It watches these calls
instead, and after a while says that one does not return.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import field

import structlog
import trio

from rkllmd.errors import Timeout
from rkllmd.quick_dataclass import dataclass

log = structlog.get_logger()

Told = Callable[[Timeout | None], None]
"""Is told on the event loop, once, that a call has returned (None), or that it is late."""


@dataclass(eq=False, slots=True)
class _Call:
    name: str
    work: Callable[[], object]
    since: float
    told: list[Told] = field(default_factory=list)
    # When it is late, for the first or for another time.
    due: float = math.inf


class Beside:
    """The thread and what it has to do. All methods are called on the event loop."""

    def __init__(self, patience: Callable[[], float], on_late: Callable[[str, float], None]) -> None:
        """``patience`` returns how many seconds a call may take.

        ``on_late`` is told the function and for how long it has not returned, each time when this many seconds have
        gone by.
        """
        self._patience = patience
        self._on_late = on_late
        self._given: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        # Those that have not returned, in their order.
        self._open: deque[_Call] = deque()
        self._changed = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._thread: threading.Thread | None = None

    @property
    def is_idle(self) -> bool:
        """Return whether no call is in C, or about to be."""
        return not self._open

    def give(self, name: str, work: Callable[[], object]) -> None:
        """Let ``work``, which calls the C function ``name``, be done; it must not raise."""
        if self._thread is None:
            # A daemon thread, as the worker.
            self._thread = threading.Thread(target=self._serve, name="beside", daemon=True)
            self._thread.start()
        now = time.monotonic()
        call = _Call(name, work, now, due=now + self._patience())
        self._open.append(call)
        self._given.put(call)
        self._changed.set()

    def when_returned(self, told: Told) -> None:
        """Tell ``told`` when all calls that were given have returned, or the last one is late; at once if none is."""
        if self._open:
            self._open[-1].told.append(told)
        else:
            told(None)

    async def watch(self) -> None:
        """Notice what is late, until cancelled."""
        while True:
            due = min((call.due for call in self._open), default=math.inf)
            self._changed = trio.Event()
            with trio.move_on_after(max(0.0, due - time.monotonic())):
                await self._changed.wait()
            self.check(time.monotonic())

    def check(self, now: float) -> None:
        """Say what is late by ``now``."""
        for call in [call for call in self._open if call.due <= now]:
            patience = self._patience()
            call.due = now + patience
            elapsed = now - call.since
            log.error("call_beside_a_run_does_not_return", function=call.name, seconds=round(elapsed, 3))
            late = Timeout(
                f"{call.name} has not returned for {elapsed:.1f} s; server.status says what becomes of the run.",
                limit_ms=round(patience * 1000),
                elapsed_ms=round(elapsed * 1000, 1),
            )
            self._tell(call, late)
            self._on_late(call.name, elapsed)

    def _tell(self, call: _Call, late: Timeout | None) -> None:
        told, call.told = call.told, []
        for one in told:
            try:
                one(late)
            except Exception:  # trio would end the daemon
                log.exception("answer_failed", function=call.name)

    def _returned(self, call: _Call) -> None:
        self._open.remove(call)
        self._changed.set()
        self._tell(call, None)

    def _serve(self) -> None:
        """Run on the thread until the process ends."""
        while True:
            call = self._given.get()
            try:
                call.work()
            except BaseException:  # whatever it is, later calls are served
                log.exception("call_beside_a_run_failed", function=call.name)
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._returned, call)
            del call
