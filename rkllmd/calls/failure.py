"""Which error a client gets for an exception."""

from __future__ import annotations

import structlog

from rkllmd import open_files
from rkllmd.errors import InternalError, RpcError

log = structlog.get_logger()


def as_error(error: BaseException, method: str) -> RpcError:
    """Return the error for the client: ``error`` itself, or an InternalError with the traceback in the log."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, OSError) and open_files.is_shortage(error):
        log.error("no_file_descriptor", method=method, reason=open_files.sentence(error))
        return open_files.shortage(error)
    log.error("internal_error", method=method, exc_info=error)
    return InternalError(f"The daemon failed in {method}: its log has the details.")
