"""What the clients raise: one base class, ``ClientError``, for whoever wants to catch all of it.

All of them survive pickling and copying, since an error has to cross from a worker process to its parent.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from rkllmd.json_types import JsonObject

DEFAULT_SOCKET: Final = "/tmp/rkllm.sock"


def default_socket() -> str:
    """Return the socket that RKLLM_UDS_PATH names, or the default."""
    return os.environ.get("RKLLM_UDS_PATH") or DEFAULT_SOCKET


class ClientError(Exception):
    """Base of all that goes wrong between a client and the daemon; wrong arguments are TypeError and ValueError."""


class CallError(ClientError):
    """The daemon answered with an Error. Programs match ``kind``, people read the message."""

    def __init__(self, error: JsonObject) -> None:
        self.code: int = error["code"]
        self.data: JsonObject = error.get("data") or {}
        self.kind: str = self.data.get("kind", "")
        self._error = error
        detail = self.data.get("detail")
        super().__init__(f"{error['message']}: {detail}" if detail else error["message"])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._error,), self.__dict__


class ConnectionLost(ClientError):
    """The connection has ended: the daemon, or the program itself, closed it. This call was not sent any more."""

    def __init__(self, message: str = "The daemon closed the connection.") -> None:
        super().__init__(message)


class Crashed(ConnectionLost):
    """The connection ended while the daemon had this call. How far the call came, and what it changed, is not known."""

    kind: Final = "Crashed"

    def __init__(self, method: str) -> None:
        self.method = method
        super().__init__(
            f"The connection ended before {method} was answered, and how far that came is not known: the daemon has "
            "crashed or was killed. 'rkllmd call server.status' says what has happened to it."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.method,), self.__dict__


class CallTimeout(ClientError, TimeoutError):
    """The call took longer than the ``timeout`` that the program gave; it was cancelled in the daemon."""

    def __init__(self, method: str, timeout: float) -> None:
        self.method = method
        self.timeout = timeout
        super().__init__(f"{method} was not answered within {timeout:g} s, and was cancelled.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.method, self.timeout), self.__dict__


class ConnectError(ClientError, OSError):
    """There is no connection to the socket ``filename``; ``why_no_connection`` says what to do about it."""


class SocketNotFound(ConnectError, FileNotFoundError):
    """There is no such socket: no daemon has been started there."""


class DaemonNotListening(ConnectError, ConnectionRefusedError):
    """The socket is there, but nobody listens: a daemon has left it behind."""


class ConnectNotPermitted(ConnectError, PermissionError):
    """The user may not connect."""


class PeerNotTrusted(ConnectError, PermissionError):
    """Somebody else than expected serves the socket (``requirepeer``): nothing was sent."""


class UnusableSocketPath(ConnectError, ValueError):
    """The path can't be that of a socket: it is too long, has a NUL inside, or is below a file."""


_CLASSES: Final[dict[int, type[ConnectError]]] = {
    errno.ENOENT: SocketNotFound,
    errno.ECONNREFUSED: DaemonNotListening,
    errno.EACCES: ConnectNotPermitted,
    errno.EPERM: ConnectNotPermitted,
    errno.ENAMETOOLONG: UnusableSocketPath,
    errno.EINVAL: UnusableSocketPath,
    errno.ENOTDIR: UnusableSocketPath,
}


def usable_path(path: str | os.PathLike[str] | None) -> str:
    """Return the path to connect to, the default one for None. Raises UnusableSocketPath for one with a NUL inside."""
    path = os.fspath(path or default_socket())
    if "\0" in path:
        raise UnusableSocketPath(errno.EINVAL, "it has a NUL inside", path)
    return path


def connect_error(error: OSError, path: str) -> ConnectError:
    """Return the error of connecting with the path, which the system's own words lack."""
    if error.errno is None:  # Python's own check of the length
        return UnusableSocketPath(errno.ENAMETOOLONG, str(error), path)
    return _CLASSES.get(error.errno, ConnectError)(error.errno, error.strerror, path)


def closed() -> ConnectionLost:
    """Return the error for who uses a client that the program has closed."""
    return ConnectionLost("This client was closed: make another one.")


def is_absence(error: ConnectError) -> bool:
    """Return whether nobody accepts connections at the moment, which a daemon that is started again changes."""
    return error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)


def why_no_connection(error: OSError | ValueError, choose: str = "in RKLLM_UDS_PATH") -> str:
    """Return what a person can do about an error of connecting, as a sentence; ``choose``: where another is named."""
    path = getattr(error, "filename", None) or default_socket()
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"No daemon serves {path}: start one with 'rkllmd serve', or name its socket {choose}."
    if isinstance(error, PeerNotTrusted):
        return f"{path} is not trusted, so nothing was sent: {error.strerror}."
    if isinstance(error, PermissionError):
        return f"You may not connect to {path}: ask to be made a member of the group that owns it (ls -l {path})."
    # Too long, a NUL inside, below a file: no path of a socket.
    return f"{path!r} can't be connected to ({getattr(error, 'strerror', None) or error}): name the socket {choose}."
