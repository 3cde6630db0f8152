"""Work on separate threads, so that whoever waits for it can leave it alone if it does not stop.

ONNX Runtime can end a run between two nodes, and a load not at all. The one worker thread of the daemon must not sit in
either of them for minutes when nobody wants the result any more.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from rkllmd import interruption
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError

_T = TypeVar("_T")

# How long a load is waited for that nobody wants any more: most end by then, and two at once would slow each other.
_LOAD_PATIENCE_SECONDS = 5.0


class _Thread:
    """A thread that does one piece of work after another: handing it over takes 20 µs, starting a thread 60."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # A daemon thread: work that never ends must not keep the process from leaving.
        threading.Thread(target=self._serve, name="rknn-run", daemon=True).start()

    def give(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            work()
            del work  # the arrays that it holds would wait for the next piece
            _idle.append(self)


# append and pop of a deque are atomic.
_idle: deque[_Thread] = deque()


def start(work: Callable[[], None]) -> None:
    """Do ``work``, which must not raise, on another thread."""
    try:
        thread = _idle.pop()
    except IndexError:
        thread = _Thread()
    thread.give(work)


class Completion:
    """Where one thread waits for the end of another's work, as long as neither is asked to stop."""

    def __init__(self) -> None:
        self.has_ended = False
        self.is_stopped = False
        self._changed = threading.Condition()

    def end(self) -> None:
        """Note that the work has ended."""
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Note that the work was asked to stop."""
        with self._changed:
            self.is_stopped = True
            self._changed.notify_all()

    def wait(self, timeout: float | None, patience: float) -> bool:
        """Return whether the work has ended, after ``timeout`` seconds at the latest (None: for ever).

        False also when the calling thread is interrupted. Work that is asked to stop has ``patience`` seconds to do so.
        """
        waiter = interruption.current()
        if waiter is not None:
            waiter.listen(self._wake)
        try:
            with self._changed:
                self._changed.wait_for(
                    lambda: self.has_ended or self.is_stopped or (waiter is not None and waiter.is_set), timeout
                )
                if self.is_stopped:
                    self._changed.wait_for(lambda: self.has_ended, patience)
                return self.has_ended
        finally:
            if waiter is not None:
                waiter.forget(self._wake)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def load(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, and raise what it raises.

    RKNN_ERR_FAIL when the calling thread is interrupted meanwhile and ``work`` does not end soon: then the work goes on
    alone, and its result is dropped.
    """
    asked = interruption.current()
    if asked is None:
        return work()
    made: list[_T] = []
    failed: list[BaseException] = []
    completion = Completion()

    def do() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failed.append(error)
        completion.end()

    asked.listen(completion.stop)
    try:
        start(do)
        if not completion.wait(None, _LOAD_PATIENCE_SECONDS):
            raise interrupted("the load")
    finally:
        asked.forget(completion.stop)
    if failed:
        raise failed[0]
    return made[0]


def interrupted(what: str) -> RknnError:
    """Return the error of a call that was asked to stop."""
    return RknnError(rknn_error.RKNN_ERR_FAIL, f"{what} was interrupted")
