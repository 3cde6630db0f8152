"""Waits for the disk, on a thread of its own: an SD card may take tenths of a second, while writing goes on."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from rkllmd.store.store import Done


class Synchroniser:
    """Tells who waits when what was written to a file can't be lost by a power cut any more."""

    def __init__(self, open_file: Callable[[], int]) -> None:
        """``open_file`` returns a descriptor of the file, which may be another one each time. It may raise OSError."""
        self._open_file = open_file
        self._waiting: queue.SimpleQueue[list[Done] | None] = queue.SimpleQueue()
        # A daemon thread: a disk that does not answer must not keep the process from leaving.
        self._thread = threading.Thread(target=self._serve, name="store-disk", daemon=True)
        self._thread.start()

    def tell(self, waiting: list[Done]) -> None:
        """Tell these when what is written by now is on the disk, or why it may not be."""
        self._waiting.put(waiting)

    def close(self, seconds: float) -> None:
        """Tell whoever still waits, and end; a disk that does not answer is waited for only so long."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _serve(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            is_last = False
            # One synchronisation is enough for all that have come.
            while not self._waiting.empty() and not is_last:
                more = self._waiting.get()
                is_last = more is None
                waiting = [*waiting, *(more or ())]
            reason = self._synchronise()
            for done in waiting:
                done(reason)
            if is_last:
                return

    def _synchronise(self) -> str | None:
        try:
            descriptor = self._open_file()
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error.strerror or str(error)
        return None
