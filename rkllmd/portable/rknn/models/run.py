"""One run of a graph, in the caller's thread or in a separate one."""

from __future__ import annotations

import time

from rkllmd import interruption
from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.models import apart
from rkllmd.portable.rknn.models.session import Session, engine

# How long a run is waited for that was asked to stop, which it does at its next node. If its node takes longer, it is
# left alone and ends when that node does.
_PATIENCE_SECONDS = 1.0


class Run:
    """A run. When it has ended, ``error`` says why it failed, or ``outputs`` has its arrays in the graph's order.

    It obeys the interruption of the thread that has made it (``interruption.py``), also if another thread waits for it.
    """

    def __init__(self, session: Session, feeds: dict[str, Array]) -> None:
        self.outputs: list[Array] = []
        self.error = ""
        self.duration = 0  # microseconds
        self._session = session
        self._feeds = feeds
        self._options = engine().RunOptions()
        self._obeys = interruption.current()
        self._completion = apart.Completion()

    @property
    def must_be_apart(self) -> bool:
        """Whether somebody may ask it to stop: then it has to run in a separate thread, which can be left alone."""
        return self._obeys is not None

    @property
    def is_stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._completion.is_stopped

    def execute(self) -> None:
        """Run in the calling thread; if it fails, ``error`` says why."""
        try:
            session = self._session.prepare()
            started = time.perf_counter_ns()
            self.outputs = session.run(None, self._feeds, self._options)
            self.duration = (time.perf_counter_ns() - started) // 1000
        except Exception as error:
            # ONNX Runtime's exceptions have no base of their own.
            self.error = str(error) or type(error).__name__

    def start(self) -> None:
        """Run in a separate thread."""
        if self._obeys is not None:
            self._obeys.listen(self._ask_to_stop)
        apart.start(self._execute_apart)

    def wait(self, timeout: float | None) -> bool:
        """Wait for a run in a separate thread, ``timeout`` seconds at most; return whether it has ended.

        False also when the calling thread is interrupted, and if the run was asked to stop and did not do so in time.
        """
        return self._completion.wait(timeout, _PATIENCE_SECONDS)

    def stop(self) -> None:
        """Ask the run to end before its next node, and wait for that for a while."""
        self._ask_to_stop()
        if not self.wait(None):
            self._session.leave_run()

    def _ask_to_stop(self) -> None:
        self._options.terminate = True
        self._completion.stop()

    def _execute_apart(self) -> None:
        self.execute()
        if self._obeys is not None:
            self._obeys.forget(self._ask_to_stop)
        self._completion.end()
