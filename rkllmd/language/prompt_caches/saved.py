"""The prompt caches that the daemon has written to paths that clients named: how large, for whom, and how many may be.

They lie anywhere that clients may write, and nobody but these clients knows whether they are of use: so the daemon
removes none, and writes no more when they are as large as they may be together. A file counts for as long as it is
there and the daemon's. All of them belong to the daemon's user, so only this knows whose they are: none is replaced for
another user than the one that saved it, but for operators. One that nobody remembers, as without a store, is anybody's.
Used on the worker thread; the bounds are set on the event loop.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkllmd.errors import PermissionDenied, lead

if TYPE_CHECKING:
    from rkllmd.store.learned import Learned, SavedCache

# What a file counts at least: otherwise there could be millions.
_LEAST_BYTES: Final = 65_536


class SavedCaches:
    """What was saved, by its path."""

    def __init__(
        self, kept: Learned[str, SavedCache] | None = None, is_operator: Callable[[int | None], bool] = lambda _: False
    ) -> None:
        """Read what earlier daemons have saved, if that is ``kept``."""
        self._is_operator = is_operator
        self.most_bytes: float = math.inf
        self.most_bytes_of_user: float = math.inf
        self._kept = kept
        self._saved: dict[str, SavedCache] = {} if kept is None else kept.read()

    def check(self, target: Path, user: int | None, where: str) -> None:
        """Refuse to save over what another user has saved, or more than the quota. Raises PermissionDenied."""
        self._look()
        theirs = self._another_users(target, user)
        if theirs is not None:
            raise PermissionDenied(f"{lead(where)}{theirs}", path=where)
        found = self._exceeded(target, user, 1)
        if found is not None:
            setting, reason = found
            raise PermissionDenied(f"{lead(where)}{reason}", path=where, setting=setting)

    def why_not(self, target: Path, user: int | None, size: int) -> str | None:
        """Return a sentence on why a file of this size can't be put at ``target``, or None; an older one there goes."""
        self._look()
        found = self._exceeded(target, user, size)
        return self._another_users(target, user) or (None if found is None else found[1])

    def _another_users(self, target: Path, user: int | None) -> str | None:
        """Return a sentence if ``target`` is what another user has saved, and this one is no operator."""
        whose = self._saved.get(str(target), (user,))[0]
        if whose == user or user is None or self._is_operator(user):
            return None
        return f"another user has saved the prompt cache that is at {target}: choose another path, or a name."

    def _exceeded(self, target: Path, user: int | None, size: int) -> tuple[str, str] | None:
        """Return the setting that a file of this size would exceed, and a sentence; None if there is none."""
        others = [
            (whose, max(bytes_, _LEAST_BYTES))
            for path, (whose, bytes_, _) in self._saved.items()
            if path != str(target)
        ]
        of_user = sum(taken for whose, taken in others if whose == user)
        of_all = sum(taken for _, taken in others)
        for setting, owners, taken, most in (
            ("saved_cache_bytes_per_user", "this user", of_user, self.most_bytes_of_user),
            ("saved_cache_bytes", "all users", of_all, self.most_bytes),
        ):
            if taken + max(size, _LEAST_BYTES) > most:
                return setting, (
                    f"the prompt caches of {owners} that were saved to paths take {taken} bytes, and may take "
                    f"{most:.0f}: remove some, or save this one by a name."
                )
        return None

    def note(self, target: Path, user: int | None, size: int) -> None:
        """Note that a file was put at ``target``."""
        self._put({str(target): (user, size, time.time())})

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
