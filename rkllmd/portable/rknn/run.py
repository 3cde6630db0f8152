"""One run of a graph, in the caller's thread or in one of its own."""

from __future__ import annotations

import threading
import time

from rkllmd.portable.rknn.c_memory import Array
from rkllmd.portable.rknn.session import Session, engine


class Run:
    """A run. After it either ``error`` says why it failed, or ``outputs`` holds its arrays in the graph's order."""

    def __init__(self, session: Session, feeds: dict[str, Array]) -> None:
        self.outputs: list[Array] = []
        self.error = ""
        self.duration = 0  # microseconds
        self._session = session
        self._feeds = feeds
        self._options = engine().RunOptions()
        self._thread: threading.Thread | None = None

    def execute(self) -> None:
        """Run in the calling thread; what goes wrong is kept in ``error``."""
        try:
            self._session.prepare()
            started = time.perf_counter_ns()
            self.outputs = self._session.run(self._feeds, self._options)
            self.duration = (time.perf_counter_ns() - started) // 1000
        except Exception as error:
            # ONNX Runtime's exceptions have no base of their own.
            self.error = str(error) or type(error).__name__

    def start(self) -> None:
        """Run in a thread."""
        self._thread = threading.Thread(target=self.execute, name="rknn-run", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the thread, ``timeout`` seconds at most; whether it has ended."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the run before its next node, and wait for that."""
        self._options.terminate = True
        self.wait(None)
