"""Python's state of a thread that Python did not start: it is kept from one callback to the next.

For a callback on such a thread, ctypes makes a Python thread state and throws it away afterwards (an mmap and a munmap,
and a chance for the event loop to take the GIL in between). To keep it for the length of a run more than doubles the
tokens per second of ``rkllm_run_async`` (``make bench``).
"""

from __future__ import annotations

import ctypes
import threading

_ensure = ctypes.PYFUNCTYPE(ctypes.c_int)(("PyGILState_Ensure", ctypes.pythonapi))
_release = ctypes.PYFUNCTYPE(None, ctypes.c_int)(("PyGILState_Release", ctypes.pythonapi))


# The KeptThreadState that holds each thread's state. The thread's number would not do: another thread may get it later.
_local = threading.local()


class KeptThreadState:
    """The state of one thread, from ``keep`` to ``release``, both called in callbacks on that thread."""

    __slots__ = ("_found", "is_kept")

    def __init__(self) -> None:
        self.is_kept = False
        self._found = 0

    def keep(self) -> None:
        """Hold the calling thread's state until ``release``."""
        if not self.is_kept:
            self.is_kept = True
            self._found = _ensure()
            _local.holder = self

    def release(self) -> None:
        """Let the state go. Does nothing on another thread than the one whose state is held: it could not be let go."""
        if self.is_kept and getattr(_local, "holder", None) is self:
            self.is_kept = False
            _local.holder = None
            _release(self._found)
