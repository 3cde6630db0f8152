"""The listening socket: inherited from systemd or bound here, with its lock and permissions.

Order as SPDK does it: lock a file beside the socket, then unlink, then bind. Probing a socket and unlinking it if
nobody answers is a race that many projects have had.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import select
import shlex
import socket as stdlib_socket
import stat
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from rkllmd import open_files
from rkllmd.net import serving

log = structlog.get_logger()

_FIRST_INHERITED: Final = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
# rw-rw----: the owner and the group (docker's way). Set before bind, which takes the umask from it, so that the socket
# is never open to more; a umask of our own would be that of all threads. What the umask took is given back afterwards.
_MODE: Final = 0o660
# Clients that connect in one burst wait here; the kernel caps it at net.core.somaxconn.
_BACKLOG: Final = 4096
# Clients are accepted one in each round of the event loop, so that they are served in the order in which they came.
# Where all are busy a round takes half a millisecond for each: after this many in a row, a burst of new ones comes in
# several at once, which takes well under a millisecond.
_IN_ORDER: Final = 16
_ACCEPT_AT_ONCE: Final = 8
# Out of descriptors: accept again after this long, as trio.serve_listeners does.
_RETRY_SECONDS: Final = 0.1
# How often to look whether the socket's file is still there: one stat(2), two microseconds.
_LOOK_SECONDS: Final = 0.5
_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class ListenError(Exception):
    """The socket can't be had; the message is one sentence with the fix."""


@dataclass
class Listener:
    """A listening socket, and what is needed to leave it behind in order."""

    socket: stdlib_socket.socket
    path: str
    # Only for a socket bound here: the lock's descriptor, and the inode to be removed at the end.
    lock: int | None = None
    inode: tuple[int, int] | None = None

    @property
    def is_in_place(self) -> bool:
        """Return whether clients find it at its path; of one that was passed on, that is not ours to know."""
        return self.inode is None or _is_at(self.path, self.inode)

    def bind_again(self) -> stdlib_socket.socket:
        """Take a new socket, bound at the path where the file of the old one is gone; return the old one, still open.

        Raises ListenError if another file is there, another daemon serves the path, or it can't be bound.
        """
        assert self.lock is not None
        if not _is_at(f"{self.path}.lock", _inode(os.fstat(self.lock))):
            lock = _lock(self.path)  # it went as well, and another daemon may have come
            os.close(self.lock)
            self.lock = lock
        try:
            socket, inode = _bind(self.path)
        except OSError as error:
            what = "another file is at its path" if error.errno == errno.EADDRINUSE else error.strerror or error
            raise ListenError(
                f"The socket {self.path} is gone and can't be bound again: {what}. Clients find the daemon when this "
                "is mended, or the daemon is restarted."
            ) from None
        old, self.socket, self.inode = self.socket, socket, inode
        return old

    def close(self) -> None:
        """Close the socket; remove its path if we bound it and it is still ours."""
        self.socket.close()
        if self.inode is not None and _is_at(self.path, self.inode):
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        if self.lock is not None:
            _unlock(self.path, self.lock)


def inherited(environ: MutableMapping[str, str]) -> Listener | None:
    """Return the socket that the service manager passed, or None; the variables are taken out of ``environ``.

    Raises ListenError if what was passed is no listening Unix stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        return None
    if int(count) > 1:  # the others would take connections that nobody answers
        raise ListenError(f"{count} sockets were passed, rkllmd serves one: keep one ListenStream=.")
    try:
        socket = stdlib_socket.socket(fileno=_FIRST_INHERITED)
    except OSError as error:
        raise ListenError(f"Descriptor 3 was passed as a listening socket but is none: {error.strerror}.") from None
    listening = socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN)
    if socket.family != stdlib_socket.AF_UNIX or socket.type != stdlib_socket.SOCK_STREAM or not listening:
        socket.close()
        raise ListenError("Descriptor 3 must be a listening Unix stream socket (ListenStream= with a path).")
    socket.set_inheritable(False)
    # The abstract namespace, a leading NUL for the kernel, is written with an @.
    return Listener(socket, os.fsdecode(socket.getsockname()).replace("\0", "@", 1))


def bind(path: str) -> Listener:
    """Lock, unlink, bind and listen. Raises ListenError if another daemon has the lock or the path can't be had."""
    lock = _lock(path)
    try:
        _make_room(path)
        socket, inode = _bind(path)
    except OSError as error:
        _unlock(path, lock)
        # Such as /tmp/rkllm.sock where the service is installed.
        if os.path.islink(path) and (told := serving.told(path, "choose another --socket")):
            raise ListenError(told) from None
        raise ListenError(f"{path} can't be bound: {error.strerror or error}.") from None
    return Listener(socket, path, lock, inode)


def _bind(path: str) -> tuple[stdlib_socket.socket, tuple[int, int]]:
    """Return a new socket that listens at ``path``, and its inode. Raises OSError."""
    socket = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        os.fchmod(socket.fileno(), _MODE)
        socket.bind(path)
        os.chmod(path, _MODE)
        socket.listen(_BACKLOG)
        return socket, _inode(os.stat(path))
    except OSError:
        socket.close()
        raise


def _lock(path: str) -> int:
    """Return the descriptor of the lock, held. Raises ListenError."""
    while True:
        lock = _open_lock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode("ascii", "replace").strip()
            os.close(lock)
            raise ListenError(
                f"Another rkllmd{f' (pid {holder})' if holder else ''} serves {path}: stop it with "
                f"'rkllmd stop --socket {shlex.quote(path)}', or choose another --socket."
            ) from None
        if _is_at(f"{path}.lock", _inode(os.fstat(lock))):
            break
        os.close(lock)  # the daemon before has removed it while it was being locked: there will be another
    with contextlib.suppress(OSError):  # a full disk: the lock holds without the pid, which is for people
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _open_lock(path: str) -> int:
    try:
        return os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise ListenError(f"There is no directory {os.path.dirname(path)} for the socket: make it first.") from None
    except OSError as error:
        reason = f"The lock {path}.lock can't be opened: {error.strerror}."
        with contextlib.suppress(OSError, KeyError):
            owner = os.lstat(f"{path}.lock").st_uid
            if isinstance(error, PermissionError) and owner != os.geteuid():
                reason = (
                    f"The lock {path}.lock is {pwd.getpwuid(owner).pw_name}'s, whose rkllmd serves {path} or was "
                    "killed: choose another --socket, or have the file removed if none runs."
                )
        raise ListenError(reason) from None


def _unlock(path: str, lock: int) -> None:
    """Remove the lock while it is held, so that another user's daemon can have the path, and let it go."""
    if _is_at(f"{path}.lock", _inode(os.fstat(lock))):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}.lock")
    os.close(lock)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_at(path: str, inode: tuple[int, int]) -> bool:
    try:
        return _inode(os.stat(path)) == inode
    except OSError:
        return False


def _make_room(path: str) -> None:
    """Remove the socket that an earlier run left; anything else at this path is not ours to remove."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file at this path that is no socket")
    os.unlink(path)


async def accept(listener: Listener, serve: Callable[[stdlib_socket.socket], None]) -> None:
    """Accept connections until cancelled; each is given to ``serve``, non-blocking, which must not raise."""
    short_of_resources = False
    socket = None
    in_a_row = 0
    while True:
        if socket is not listener.socket:
            socket = listener.socket  # the first one, or bound again (``keep_bound``)
            socket.setblocking(False)
            burst = select.poll()
            burst.register(socket, select.POLLIN)
        if not burst.poll(0):
            in_a_row = 0
        try:
            await trio.lowlevel.wait_readable(socket)
            for _ in range(1 if in_a_row < _IN_ORDER else _ACCEPT_AT_ONCE):
                _accept_one(socket, serve)
                in_a_row += 1
                short_of_resources = False
        except trio.ClosedResourceError:
            continue
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                if not short_of_resources:  # one line for each shortage, not ten a second
                    log.error("accept_failed", reason=open_files.sentence(error))
                short_of_resources = True
                await trio.sleep(_RETRY_SECONDS)
            # Otherwise nobody else is there, or the client left before it was accepted.


def _accept_one(socket: stdlib_socket.socket, serve: Callable[[stdlib_socket.socket], None]) -> None:
    client, _ = socket.accept()
    client.setblocking(False)
    serve(client)


async def keep_bound(listener: Listener, serve: Callable[[stdlib_socket.socket], None]) -> None:
    """Bind the socket again when somebody has removed its file (a cleaner of /tmp does), until cancelled.

    One that was passed on belongs to the service manager.
    """
    said = ""
    while listener.inode is not None:
        await trio.sleep(_LOOK_SECONDS)
        if listener.is_in_place:
            said = ""
            continue
        try:
            old = listener.bind_again()
        except ListenError as error:
            if said != str(error):  # once, not twice a second
                said = str(error)
                log.error("socket_gone", socket=listener.path, reason=said)
            continue
        old.setblocking(False)
        with contextlib.suppress(OSError):  # until nobody is left who had found the old one
            while True:
                _accept_one(old, serve)
        trio.lowlevel.notify_closing(old)
        old.close()
        log.warning("socket_bound_again", socket=listener.path)
