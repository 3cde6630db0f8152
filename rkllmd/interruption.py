"""How one thread ends the work of another: it may ask at any time, and is heard where the work can stop.

A call that is cancelled, whose client has gone or whose time is over has an ``Interruption`` that is set on the event
loop. The worker thread does the call's work ``obeying`` it; what takes long there (ONNX Runtime, a product of matrices)
finds it by ``current``. It stays set, so it does not matter whether the work has begun yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_here = threading.local()


class Interruption:
    """Set once, from any thread; whoever listens is called then, on the thread that sets it, and must not raise."""

    __slots__ = ("_listeners", "_lock", "is_set")

    def __init__(self) -> None:
        # Read without the lock: it only ever becomes true, and whoever must not miss that calls ``listen``.
        self.is_set = False
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def set(self) -> None:
        """Ask the work to stop."""
        with self._lock:
            self.is_set = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when this is set; at once if it is set already."""
        with self._lock:
            if not self.is_set:
                self._listeners.append(listener)
                return
        listener()

    def forget(self, listener: Callable[[], None]) -> None:
        """Do not call ``listener`` any more."""
        with self._lock, suppress(ValueError):
            self._listeners.remove(listener)


def current() -> Interruption | None:
    """Return the interruption that the calling thread obeys; None if nobody can interrupt it."""
    found: Interruption | None = getattr(_here, "interruption", None)
    return found


def is_interrupted() -> bool:
    """Return whether the calling thread was asked to stop what it does."""
    found = current()
    return found is not None and found.is_set


@contextmanager
def obeying(interruption: Interruption | None) -> Iterator[None]:
    """Obey ``interruption`` on the calling thread; a call within a call (between two tokens) obeys another one."""
    before = current()
    _here.interruption = interruption
    try:
        yield
    finally:
        _here.interruption = before
