"""A file that something was loaded from and that may still be read: whether somebody has written to it since."""

from __future__ import annotations

import os

from rkllmd.errors import RuntimeFailure


class WatchedFile:
    """An open file, and how it was when it was opened. One that is renamed over or removed stays what it was."""

    def __init__(self, path: str) -> None:
        """Open the file. Raises OSError."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened = os.fstat(self._fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def check(self, function: str) -> None:
        """Raise RuntimeFailure if somebody has written to it: C, which may have mapped it, would read something else.

        ``function`` is the C function that is not called because of that.
        """
        before, now = self._opened, os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            return
        raise RuntimeFailure(
            f"{self.path} was written to after it was loaded (it had {before.st_size} bytes and has {now.st_size}), so "
            f'{function} was not called: load it again, by rkllm.init with "replace": true.',
            function=function,
            status=None,
            log=[],
        )
