"""The event loop is woken once for all that the lanes of a batch have for it, not once for each of them.

Waking costs a system call, in which the thread of the callback gives up the GIL to the loop and has to wait for it
again. So nothing is woken during a callback of C, but at its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

# A lane that has found something looks again. In the same turn of the loop that costs next to nothing, in another one
# as much as sending some tokens.
_ROUNDS: Final = 2


class SharedWake:
    """Schedules functions on the event loop; the lanes and their company have one."""

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        """``wake(function)`` schedules one on the event loop, from any thread."""
        self._wake = wake
        self._due: deque[Callable[[], None]] = deque()
        # Single operations under the GIL, and each side writes before it looks: who adds something looks afterwards
        # whether the loop is called or a callback holds it back; who ends that looks afterwards for what was added.
        self._is_held = self._is_called = False

    def soon(self, function: Callable[[], None]) -> None:
        """Schedule a function, in the order of the calls; on any thread."""
        self._due.append(function)
        if not self._is_held:
            self._call()

    def hold(self) -> None:
        """Wake nobody until ``let_go``."""
        self._is_held = True

    def let_go(self) -> None:
        """Wake the event loop if there is something for it."""
        self._is_held = False
        if self._due:
            self._call()

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._wake(self._work)

    def _work(self) -> None:
        try:
            for _ in range(_ROUNDS):
                for _ in range(len(self._due)):
                    self._due.popleft()()
        finally:
            self._is_called = False  # before it looks, as above
            if self._due and not self._is_held:
                self._call()
