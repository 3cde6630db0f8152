"""The listening socket: inherited from systemd, or bound here with its lock and permissions.

The order is that of SPDK: lock a file beside the socket, then unlink the socket, then bind. To probe a socket and to
unlink it if nobody answers is a race condition that many projects have had.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import socket as stdlib_socket
from collections.abc import MutableMapping
from typing import Final

from rkllmd.keeper import socket_file
from rkllmd.machine.keeper_link import KeeperLink
from rkllmd.net.listening import serving, takeover
from rkllmd.quick_dataclass import dataclass

_FIRST_INHERITED: Final = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
# rw-rw----: the owner and the group, as docker does it. It is set before bind, which also applies the umask, so that
# the socket is never accessible to others; what the umask has removed is added afterwards. Changing the umask instead
# would affect all threads.
_MODE: Final = 0o660


class ListenError(Exception):
    """The socket is not available; the message is one sentence that says what to do."""


@dataclass
class Listener:
    """A listening socket, and what is needed to clean up after it."""

    socket: stdlib_socket.socket
    path: str
    # Only for a socket that was bound here: the lock's descriptor, and the inode to remove at the end.
    lock: int | None = None
    inode: tuple[int, int] | None = None
    # The process that holds the socket too, and removes its file at the end.
    keeper: KeeperLink | None = None

    @property
    def is_in_place(self) -> bool:
        """Return whether clients find the socket at its path; true for an inherited one, which others look after."""
        return self.inode is None or socket_file.is_at(self.path, self.inode)

    def bind_again(self) -> stdlib_socket.socket:
        """Bind a new socket at the path, from which the old one's file has gone; return the old socket, still open.

        Raises ListenError if another file is there, another daemon serves the path, or binding fails.
        """
        assert self.lock is not None
        if not socket_file.is_at(f"{self.path}.lock", socket_file.inode_of(os.fstat(self.lock))):
            # The lock's file has gone too, so another daemon may have locked the path.
            lock = _lock(self.path, 0 if self.keeper is None else self.keeper.pid)
            os.close(self.lock)
            self.lock = lock
        try:
            socket, inode = _bind(self.path)
        except OSError as error:
            what = "another file is at its path" if error.errno == errno.EADDRINUSE else error.strerror or error
            raise ListenError(
                f"The socket {self.path} is gone and can't be bound again: {what}. Clients find the daemon again when "
                "this is fixed, or the daemon is restarted."
            ) from None
        old, self.socket, self.inode = self.socket, socket, inode
        self.hand_over()
        return old

    def hand_over(self) -> None:
        """Give the keeper, if there is one, what was bound here."""
        if self.keeper is not None and self.lock is not None and self.inode is not None:
            self.keeper.hand_over(self.socket, self.lock, self.path, self.inode)

    def close(self) -> None:
        """Close the socket; remove its file if we bound it and it is still ours, unless the keeper will do that."""
        self.socket.close()
        if self.keeper is not None and self.keeper.is_alive:
            return
        if self.inode is not None:
            socket_file.remove(self.path, self.inode)
        if self.lock is not None:
            socket_file.unlock(self.path, self.lock)


def open_listener(path: str, environ: MutableMapping[str, str], keeper: KeeperLink | None) -> Listener:
    """Return the socket that the service manager or the keeper has passed, or one that is bound at ``path``.

    Raises ListenError.
    """
    if (passed := inherited(environ)) is not None:
        return passed
    if keeper is None:
        return bind(path)
    if (kept := keeper.listening()) is not None:  # an earlier daemon with the same settings has bound it
        return Listener(*kept, keeper)
    listener = bind(path, keeper.pid)
    listener.keeper = keeper
    listener.hand_over()
    keeper.wait_until_it_listens()
    return listener


def inherited(environ: MutableMapping[str, str]) -> Listener | None:
    """Return the socket that the service manager passed, or None; its variables are removed from ``environ``.

    Raises ListenError if what was passed is not a listening Unix stream socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        return None
    if int(count) > 1:  # clients of the others would never be answered
        raise ListenError(f"{count} sockets were passed, but rkllmd serves one: keep one ListenStream=.")
    try:
        socket = stdlib_socket.socket(fileno=_FIRST_INHERITED)
    except OSError as error:
        raise ListenError(f"Descriptor 3 was passed as a listening socket but is not one: {error.strerror}.") from None
    listening = socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN)
    if socket.family != stdlib_socket.AF_UNIX or socket.type != stdlib_socket.SOCK_STREAM or not listening:
        socket.close()
        raise ListenError("Descriptor 3 must be a listening Unix stream socket (ListenStream= with a path).")
    socket.set_inheritable(False)
    # The abstract namespace, a leading NUL for the kernel, is written with an @.
    return Listener(socket, os.fsdecode(socket.getsockname()).replace("\0", "@", 1))


def bind(path: str, pid: int = 0) -> Listener:
    """Lock, unlink, bind and listen. Raises ListenError if another daemon has the lock or the path can't be bound.

    ``pid`` is the process that others are told to stop; 0: this one.
    """
    lock = _lock(path, pid)
    try:
        takeover.remove_socket(path)
        socket, inode = _bind(path)
    except OSError as error:
        socket_file.unlock(path, lock)
        # A link, such as /tmp/rkllm.sock where the service is installed, may lead to a socket that is served.
        if os.path.islink(path) and (sentence := serving.why_taken(path, "choose another --socket")):
            raise ListenError(sentence) from None
        raise ListenError(f"{path} can't be bound: {error.strerror or error}.") from None
    return Listener(socket, path, lock, inode)


def _bind(path: str) -> tuple[stdlib_socket.socket, tuple[int, int]]:
    """Return a new socket that listens at ``path``, and its inode. Raises OSError."""
    socket = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        os.fchmod(socket.fileno(), _MODE)
        socket.bind(path)
        os.chmod(path, _MODE)
        socket.listen(socket_file.BACKLOG)
        return socket, socket_file.inode_of(os.stat(path))
    except OSError:
        socket.close()
        raise


def _lock(path: str, pid: int) -> int:
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
        inode = socket_file.inode_of(os.fstat(lock))
        if socket_file.is_at(f"{path}.lock", inode) or not _is_on_disk(lock):
            break
        os.close(lock)  # an ending daemon removed the file while we were locking it: lock a new one
    with contextlib.suppress(OSError):  # a full disk: the lock holds without the pid, which is only for people
        os.ftruncate(lock, 0)
        os.write(lock, f"{pid or os.getpid()}\n".encode())
    return lock


def _open_lock(path: str) -> int:
    try:
        return takeover.open_lock(path)
    except FileNotFoundError:
        raise ListenError(f"There is no directory {os.path.dirname(path)} for the socket: make it first.") from None
    except OSError as error:
        raise ListenError(f"The lock {path}.lock can't be opened: {error.strerror}.") from None


def _is_on_disk(lock: int) -> bool:
    """Return whether the lock is a file with a name, and not one in memory because of another user's file."""
    return not os.readlink(f"/proc/self/fd/{lock}").startswith("/memfd:")
