"""Which error a client gets for an exception."""

from __future__ import annotations

import errno
from typing import Final

import structlog

from rkllmd import open_files
from rkllmd.errors import InternalError, OutOfMemory, RpcError, RuntimeFailure

log = structlog.get_logger()

# What the kernel says where there is no memory left, for a memfd as well.
_NO_MEMORY: Final = frozenset({errno.ENOMEM, errno.ENOSPC})
# What CPython says of a lock that it has no memory for ("can't allocate read lock"); a thread it "can't start".
_NO_LOCK: Final = ("can't allocate ", "can't start new thread")


def as_error(error: BaseException, method: str) -> RpcError:
    """Return the error for the client: ``error`` itself, or an InternalError with the traceback in the log."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, OSError) and open_files.is_shortage(error):
        log.error("no_file_descriptor", method=method, reason=open_files.sentence(error))
        return open_files.shortage(error)
    if _is_no_memory(error):
        log.error("no_memory", method=method, reason=str(error))
        return OutOfMemory(f"The machine has no memory left for {method}: unload a model, or call again later.")
    if isinstance(error, BlockingIOError):
        log.error("file_held", method=method, path=error.filename, reason=error.strerror)
        return RuntimeFailure(f"A process has a lease of a file of {method} (fcntl, F_SETLEASE): call again later.")
    if isinstance(error, OSError) and error.errno == errno.EIO:
        log.error("file_not_readable", method=method, path=error.filename, reason=error.strerror)
        return RuntimeFailure(f"The disk has failed in {method} ({error.strerror}): see what the kernel's log says.")
    log.error("internal_error", method=method, exc_info=error)
    return InternalError(f"The daemon failed in {method}: its log has the details.")


def _is_no_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_MEMORY
    if type(error) is RuntimeError:
        return str(error).startswith(_NO_LOCK)
    return isinstance(error, MemoryError)
