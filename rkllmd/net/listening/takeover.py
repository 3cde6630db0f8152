"""What a daemon may take over at its socket's path: no socket that is served, and no lock that another user made.

In a directory that others may write to, such as /tmp, anybody can make the lock's file before the daemon does, or
replace it. So the lock only keeps daemons of one user apart, and before a socket's file is removed, the daemon checks
whether a process listens: the kernel names it (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket as stdlib_socket
import stat
from typing import Final

import structlog

from rkllmd.wire.credentials import credentials_of

log = structlog.get_logger()


# Not blocking, since opening a FIFO would wait for its other end.
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def who_listens(path: str) -> str | None:
    """Return a description of the process that listens at ``path``; None if none does. It connects to find out."""
    with stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM | stdlib_socket.SOCK_NONBLOCK) as socket:
        try:
            socket.connect(path)
            pid, uid, _ = credentials_of(socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:  # EAGAIN: too many clients wait to be accepted; EPROTOTYPE: another type; EACCES
            reason = "it does not accept" if error.errno == errno.EAGAIN else error.strerror
            return f"a process ({reason}) on a socket of {owner_of(path)}"
    return f"process {pid} of {user_name(uid)}"


def remove_socket(path: str) -> None:
    """Remove the socket that an earlier daemon left behind. Raises OSError for any other file, which is not ours."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file at this path that is not a socket")
    if (who := who_listens(path)) is not None:
        raise OSError(errno.EADDRINUSE, f"{who} listens there; stop it, or choose another --socket")
    try:
        os.unlink(path)
    except PermissionError:
        reason = f"{owner_of(path)} has left a socket there that only they or root may remove; choose another --socket"
        raise OSError(errno.EPERM, reason) from None


def open_lock(socket_path: str) -> int:
    """Return a descriptor of the lock's file beside a socket, to be locked. Raises OSError.

    A file that another user made says nothing about daemons of this user. It is removed if that is allowed; otherwise
    the daemon uses a file in memory in its place, and other daemons only notice that the socket is served.
    """
    path = f"{socket_path}.lock"
    for _ in range(2):
        lock = _open_own(path)
        if lock is not None:
            return lock
        owner = owner_of(path)
        if who_listens(socket_path) is not None:  # it may be that user's daemon: ``remove_socket`` says so
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
    log.warning("lock_not_ours", path=path, owner=owner)
    return os.memfd_create("rkllmd-lock")


def _open_own(path: str) -> int | None:
    """Return a descriptor of the lock's file; None if it belongs to somebody else. Raises OSError."""
    try:
        lock = os.open(path, _FLAGS, 0o600)
    except OSError:
        # Root too can be refused: fs.protected_regular (proc(5)).
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_uid != os.geteuid():
                return None
        raise
    found = os.fstat(lock)
    # A file with a second name may be another file of ours, to which somebody has made a hard link.
    if found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return lock
    os.close(lock)
    return None


def owner_of(path: str) -> str:
    """Return the name of the user who owns the file at ``path``."""
    try:
        return user_name(os.lstat(path).st_uid)
    except OSError:
        return "nobody"


def user_name(uid: int) -> str:
    """Return a user's name, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
