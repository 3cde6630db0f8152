"""How files of clients are opened, and what somebody who can help is told when none can be opened any more."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from typing import Final

from rkllmd.errors import QueueFull

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_RETRY_AFTER_MS: Final = 1000


def without_waiting(path: str, flags: int) -> int:
    """Open a file, as an ``opener`` of ``open``, and wait for nobody. Raises OSError.

    Its owner may hold a lease of it: then this is BlockingIOError, where another open waits for up to 45 s (fcntl(2)).
    Nor does it wait for somebody who writes to a pipe. Reading a file is as always.
    """
    return os.open(path, flags | os.O_NONBLOCK)


def raise_limit() -> None:
    """Raise the limit of open files to the hard limit: each client needs one, and so does each tensor by descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_shortage(error: BaseException) -> bool:
    """Return whether an exception means that the process or the machine has no file descriptor left."""
    if not isinstance(error, OSError):
        return False
    if error.errno is None:  # the loader of libraries says it in words only
        return os.strerror(errno.EMFILE) in str(error)
    return error.errno in _SHORTAGES


def shortage(error: OSError | None = None) -> QueueFull:
    """Return the error for a client; without ``error``, it is the process that has no descriptor left."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return QueueFull(sentence(error), queued=limit, limit=limit, retry_after_ms=_RETRY_AFTER_MS)


def sentence(error: OSError | None = None) -> str:
    """Return one sentence that says what there are too many of, and what helps."""
    if error is not None and error.errno == errno.ENFILE:
        return "The machine has as many files open as it may: close some, or raise fs.file-max (sysctl)."
    if error is not None and error.errno not in (None, errno.EMFILE):
        return f"The kernel has no memory for another connection ({error.strerror}): free some, or connect later."
    return (
        f"The daemon has as many files open as it may ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]}): close "
        "connections, tensor memories or descriptors, or raise its limit (LimitNOFILE= of the service, ulimit -n)."
    )


def raise_shortage(error: BaseException) -> None:
    """Raise QueueFull if ``error`` is such a shortage, so that it is not taken for the client's mistake."""
    if isinstance(error, OSError) and is_shortage(error):
        raise shortage(error) from None
