"""Which file it is, without reading all of it, and whether a file in use was replaced or written to."""

from __future__ import annotations

import hashlib
import os
from typing import Final, NamedTuple

from rkllmd import open_files
from rkllmd.errors import RuntimeFailure
from rkllmd.quick_dataclass import dataclass

# Header, tokenizer and metadata are at one end of a model's file, weights at the other; all of it would take a minute.
_END_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The file's path, size and time, and a hash of its first and last MiB."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def identify(path: str) -> FileIdentity:
    """Return the identity of the file at ``path``. Raises OSError, MemoryError."""
    with open(path, "rb", opener=open_files.without_waiting) as file:
        status = os.fstat(file.fileno())
        begin = file.read(_END_BYTES)
        file.seek(max(_END_BYTES, status.st_size - _END_BYTES))
        end = file.read(_END_BYTES)
    try:
        digest = hashlib.sha256(begin)
        digest.update(end)
        sha256 = digest.hexdigest()
    except ValueError as error:  # so OpenSSL says that it has no memory
        raise MemoryError(str(error)) from None
    return FileIdentity(os.path.realpath(path), status.st_size, status.st_mtime_ns, sha256)


class FileVersion(NamedTuple):
    """Which file stands at a path, as far as the file system tells without reading it."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


def version(path: str) -> FileVersion | None:
    """Return which file stands at ``path``; None: none does, or this process may not see it."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileVersion(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class WatchedFile:
    """An open file that something was loaded from, and how it was when it was opened.

    If its name is removed or given to another file, this one stays open, unchanged.
    """

    def __init__(self, path: str) -> None:
        """Open the file. Raises OSError."""
        self.path = path
        self._fd = open_files.without_waiting(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened = os.fstat(self._fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def check(self, function: str) -> None:
        """Raise RuntimeFailure if the file was written to: C may have mapped it, and would read something else.

        ``function`` is the C function that is not called then.
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
