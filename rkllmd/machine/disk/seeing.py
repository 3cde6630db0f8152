"""Where a path leads for a user: its own permissions count, and not those of the daemon, which looks in its place.

The daemon may enter directories that a client may not. If it told what is there (a file or none, a link, one that is no
model), the client would learn what the kernel hides from it, and a load would read for it what it may not read. So a
client's path is followed part by part, as the kernel would do it for the client's uid and groups, and nothing behind a
directory that is closed to it is looked at. Where there is an access control list, it decides (``acl.py``).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from rkllmd.machine.disk import acl
from rkllmd.quick_dataclass import dataclass

# As many as the kernel follows (path_resolution(7)).
_MOST_LINKS: Final = 40
_READ, _SEARCH = 4, 1


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user with its groups. What lies in the directories ``shown``, the operator shows to everybody."""

    user: int
    groups: frozenset[int]
    shown: tuple[str, ...] = ()

    def sees_all_in(self, path: str) -> bool:
        """Return whether a resolved path lies in a directory that is shown to everybody."""
        return any(_is_in(path, os.path.realpath(root)) for root in self.shown)

    def may(self, path: str, wanted: int) -> bool:
        """Return whether the user may read or search what is at a resolved path. Raises OSError."""
        return self.sees_all_in(path) or self._may(path, wanted)

    def may_read(self, path: str, descriptor: int) -> bool:
        """Return whether the user may read what was opened at a resolved path, with O_PATH too. Raises OSError."""
        return self.sees_all_in(path) or self._may(f"/proc/self/fd/{descriptor}", _READ)

    def _may(self, path: str, wanted: int) -> bool:
        status = os.stat(path)
        granted = acl.of(path, status)
        if granted is not None:
            return acl.grants(granted, status, self.user, self.groups, wanted)
        shift = 6 if status.st_uid == self.user else 3 if status.st_gid in self.groups else 0
        return bool(status.st_mode >> shift & wanted)


def resolve(path: str, viewer: Viewer, *, reads: bool) -> str:
    """Return where an absolute path leads, as os.path.realpath does, whether something is there or not.

    Raises PermissionError where the user may not go on, and with ``reads`` for a file that it may not read.
    """
    current, parts = _start(path, viewer)
    links = 0
    try:
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if stat.S_ISDIR(os.stat(current).st_mode) and not viewer.may(current, _SEARCH):
                raise _Closed
            if part == "..":
                current = os.path.dirname(current)
                continue
            found = os.path.join(current, part)
            if not stat.S_ISLNK(os.lstat(found).st_mode):
                current = found
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(found)
            current, more = _start(target, viewer) if target.startswith("/") else (current, target.split("/")[::-1])
            parts += more
        if reads and not viewer.may(current, _READ):
            raise _Closed
    except _Closed:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
    except OSError:  # nothing is there, or nothing that the daemon may look at: whoever opens it learns that
        return os.path.normpath(os.path.join(current, part, *parts[::-1]))
    return current


def _start(path: str, viewer: Viewer) -> tuple[str, list[str]]:
    """Return where an absolute path begins to be followed, and its parts from there on, the first one last.

    The way to a directory that is shown is the operator's.
    """
    root = next((root for root in viewer.shown if _is_in(path, root)), "")
    return os.path.realpath(root or "/"), path[len(root) :].split("/")[::-1]


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


class _Closed(Exception):
    """The user may not go on, unlike the daemon."""
