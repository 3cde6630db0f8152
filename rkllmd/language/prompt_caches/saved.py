"""The prompt caches that the daemon has written to paths that clients named: how large, for whom, and how many may be.

They lie anywhere that clients may write, and nobody but these clients knows whether they are of use: so the daemon
removes none, and writes no more when they are as large as they may be together. A file counts for as long as it is
there and the daemon's. Used on the worker thread; the bounds are set on the event loop.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkllmd.errors import PermissionDenied, lead

if TYPE_CHECKING:
    from rkllmd.store.learned import Learned, SavedCache

# What a file counts at least: otherwise there could be millions.
_LEAST_BYTES: Final = 65_536


class SavedCaches:
    """What was saved, by its path."""

    def __init__(self, kept: Learned[str, SavedCache] | None = None) -> None:
        """Read what earlier daemons have saved, if that is ``kept``."""
        self.most_bytes: float = math.inf
        self.most_bytes_of_user: float = math.inf
        self._kept = kept
        self._saved: dict[str, SavedCache] = {} if kept is None else kept.read()

    def check(self, target: Path, user: int | None, where: str) -> None:
        """Refuse to save anything more for a client whose quota is used up. Raises PermissionDenied."""
        reason = self.why_not(target, user, 1)
        if reason is not None:
            setting = "saved_cache_bytes_per_user" if self._of(user, target) + 1 > self.most_bytes_of_user else ""
            raise PermissionDenied(f"{lead(where)}{reason}", path=where, setting=setting or "saved_cache_bytes")

    def why_not(self, target: Path, user: int | None, size: int) -> str | None:
        """Return a sentence on why a file of this size can't be put at ``target``, or None; an older one there goes."""
        self._look()
        size = max(size, _LEAST_BYTES)
        for whose, taken, most in (
            ("of this user", self._of(user, target), self.most_bytes_of_user),
            ("of all users", self._of_all(target), self.most_bytes),
        ):
            if taken + size > most:
                return (
                    f"the prompt caches {whose} that were saved to paths take {taken} bytes, and may take {most:.0f}: "
                    "remove some, or save this one by a name."
                )
        return None

    def note(self, target: Path, user: int | None, size: int) -> None:
        """Note that a file was put at ``target``."""
        self._put({str(target): (user, size, time.time())})

    def _of(self, user: int | None, target: Path) -> int:
        return sum(max(size, _LEAST_BYTES) for path, (whose, size, _) in self._others(target) if whose == user)

    def _of_all(self, target: Path) -> int:
        return sum(max(size, _LEAST_BYTES) for _, (_, size, _) in self._others(target))

    def _others(self, target: Path) -> list[tuple[str, SavedCache]]:
        return [(path, saved) for path, saved in self._saved.items() if path != str(target)]

    def _look(self) -> None:
        """Forget what is not there any more, or somebody else's."""
        gone: dict[str, SavedCache | None] = {}
        for path in self._saved:
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                    continue
            gone[path] = None
        self._put(gone)

    def _put(self, values: dict[str, SavedCache] | dict[str, SavedCache | None]) -> None:
        for path, saved in values.items():
            self._saved.pop(path, None)
            if saved is not None:
                self._saved[path] = saved
        if self._kept is not None:
            self._kept.put(values)
