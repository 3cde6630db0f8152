"""The store's own directory, below the state directory: nobody else may enter it, and one daemon at a time uses it.

It is opened once, and what is done to files in it is done by its descriptor and follows no links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import Final

from rkllmd.store.lock import LOCK_SECONDS, lock

NAME: Final = "store"
"""Its name in the state directory."""
FILE: Final = "rkllmd.sqlite"
# SQLite's, beside the file (sqlite.org/wal.html).
_WAL: Final = "-wal"
# Each may be as large as the store; one tells what happened, and a card that fails makes many.
_MOST_SET_ASIDE: Final = 3
_SET_ASIDE: Final = "set-aside-"


class UnusableDirectory(Exception):
    """Nothing can be kept there; the message is a sentence that says why, and what to do."""


class StoreDirectory:
    """The open and locked directory."""

    def __init__(self, state_directory: str) -> None:
        """Make it if there is none, and lock it. Raises UnusableDirectory."""
        if not state_directory:
            raise UnusableDirectory("The setting state_directory is empty.")
        self.path = os.path.join(state_directory, NAME)
        try:
            self._descriptor = _open(state_directory)
        except OSError as error:
            raise UnusableDirectory(
                f"The daemon's user can't keep anything in {state_directory} (state_directory): {error.strerror}."
            ) from None
        try:
            self._check_owner()
            self._lock(state_directory)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Let another daemon have it."""
        os.close(self._descriptor)

    @property
    def file(self) -> str:
        """Return the path of the store's file."""
        return os.path.join(self.path, FILE)

    def make_file(self) -> None:
        """Make the file where there is none, readable for nobody else. Raises UnusableDirectory, OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(FILE, flags, 0o600, dir_fd=self._descriptor)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise UnusableDirectory(f"{self.file} is no file of the daemon's: remove it.")
            os.fchmod(descriptor, 0o600)  # SQLite gives the log beside it the same mode
            os.fsync(self._descriptor)
        finally:
            os.close(descriptor)

    def open_log(self) -> int:
        """Return a descriptor of the write-ahead log. Raises OSError."""
        return os.open(FILE + _WAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)

    @property
    def was_left_open(self) -> bool:
        """Return whether the daemon before has not closed the store: its log is still there."""
        try:
            return os.stat(FILE + _WAL, dir_fd=self._descriptor, follow_symlinks=False).st_size > 0
        except OSError:
            return False

    def set_aside(self) -> str:
        """Give the store's files another name, with the time in it; return that of the file. Raises OSError."""
        for old in sorted(self._set_aside())[: -(_MOST_SET_ASIDE - 1)]:
            for suffix in ("", _WAL):
                with contextlib.suppress(OSError):
                    os.unlink(old + suffix, dir_fd=self._descriptor)
        now = time.time_ns()
        date = time.strftime("%Y-%m-%dT%H-%M-%S", time.localtime(now // 10**9))
        name = f"{_SET_ASIDE}{date}-{now // 1000 % 10**6:06}.sqlite"
        for suffix in (_WAL, ""):  # the file last: while it has its name, this begins again after a crash
            with contextlib.suppress(FileNotFoundError):
                os.rename(FILE + suffix, name + suffix, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        return os.path.join(self.path, name)

    def _set_aside(self) -> list[str]:
        return [
            name for name in os.listdir(self._descriptor) if name.startswith(_SET_ASIDE) and name.endswith(".sqlite")
        ]

    def _check_owner(self) -> None:
        found = os.fstat(self._descriptor)
        if found.st_uid != os.geteuid():
            raise UnusableDirectory(f"{self.path} belongs to uid {found.st_uid}, not to the daemon's user: remove it.")
        try:
            os.fchmod(self._descriptor, 0o700)
        except OSError as error:
            raise UnusableDirectory(f"{self.path}: {error.strerror}.") from None

    def _lock(self, state_directory: str) -> None:
        """Keep other daemons out. Raises UnusableDirectory."""
        try:
            is_ours = lock(self._descriptor, LOCK_SECONDS)
        except OSError as error:
            raise UnusableDirectory(f"{self.path} can't be locked: {error.strerror}.") from None
        if not is_ours:
            raise UnusableDirectory(
                f"Another rkllmd keeps its state in {state_directory}: give this one a state_directory of its own."
            )


def _open(state_directory: str) -> int:
    """Return the descriptor of the store's directory in it. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    parent = os.open(state_directory, flags)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(NAME, 0o700, dir_fd=parent)
        descriptor = os.open(NAME, flags | os.O_NOFOLLOW, dir_fd=parent)
    finally:
        os.close(parent)
    if not os.access(f"/proc/self/fd/{descriptor}", os.W_OK | os.X_OK):
        os.close(descriptor)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return descriptor
