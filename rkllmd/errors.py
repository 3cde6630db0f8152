"""One exception per error kind; each knows its JSON-RPC code.

Programs match ``data.kind``, people read ``message`` (protocol, section 6). Raise these anywhere below the connection:
the connection turns them into JSON-RPC Error objects and nothing else does.
"""

from __future__ import annotations

from typing import ClassVar

from rkllmd.json_types import Json, JsonObject


def lead(path: str | None) -> str:
    """Return how a message about the value at ``$.model_path`` begins: "model_path: "; nothing without one."""
    shown = "" if path is None else path.removeprefix("$").removeprefix(".")
    return f"{shown}: " if shown else ""


class RpcError(Exception):
    """Base of everything that a client can be told.

    ``message`` is one sentence a person can act on; ``data`` holds what a program needs. The values in ``data`` must be
    the daemon's own or short: a client's input is never echoed, since it may be megabytes long or nested too deeply
    for the serializer (orjson refuses to write beyond 253 levels but reads 1024).
    """

    code: ClassVar[int] = -32603
    kind: ClassVar[str] = "InternalError"

    def __init__(self, message: str, **data: Json) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def to_json(self) -> JsonObject:
        """Return the Error object of JSON-RPC 2.0, section 5.1."""
        return {"code": self.code, "message": self.message, "data": {"kind": self.kind, **self.data}}


class _SpecificationError(RpcError):
    """An error whose message is the specification's own word; the sentence for people is ``data.detail``."""

    title: ClassVar[str]

    def __init__(self, detail: str, **data: Json) -> None:
        super().__init__(self.title, detail=detail, **data)


class ParseError(_SpecificationError):
    """The line is not JSON."""

    code = -32700
    kind = "ParseError"
    title = "Parse error"


class InvalidRequest(_SpecificationError):
    """The line is JSON but no JSON-RPC 2.0 Request."""

    code = -32600
    kind = "InvalidRequest"
    title = "Invalid Request"


class FrameTooLarge(RpcError):
    """A line is longer than the limit, and the connection is closed; or it would be too much once it is parsed."""

    code = -32600
    kind = "FrameTooLarge"


class DuplicateId(RpcError):
    """The id is that of a request still in flight on the same connection."""

    code = -32600
    kind = "DuplicateId"


class MethodNotFound(_SpecificationError):
    """No method of this name exists."""

    code = -32601
    kind = "MethodNotFound"
    title = "Method not found"


class InvalidParams(RpcError):
    """The parameters do not fit the method's schema; nothing was executed.

    ``data``: ``path`` (JSON path below ``params``), ``keyword`` (the schema keyword that failed) and ``limit`` (its
    value), where they apply.
    """

    code = -32602
    kind = "InvalidParams"


class InternalError(RpcError):
    """A fault of the daemon itself; the log has the traceback."""


class ModelNotInitialized(RpcError):
    """No model or context is loaded."""

    code = -32000
    kind = "ModelNotInitialized"


class QueueFull(RpcError):
    """A bound is reached: ``queued``, ``limit``, ``retry_after_ms``."""

    code = -32001
    kind = "QueueFull"


class RuntimeFailure(RpcError):
    """A C function failed: ``function``, ``status``, ``status_name`` where it has one, ``log``.

    Where a load was to replace models (here and in other errors of rkllm.init): ``restored``, ``lost``.
    """

    code = -32002
    kind = "RuntimeError"


class Cancelled(RpcError):
    """The call was cancelled before it had a result."""

    code = -32003
    kind = "Cancelled"


class Timeout(RpcError):
    """A limit of time has passed: ``limit_ms``, ``elapsed_ms``."""

    code = -32004
    kind = "Timeout"


class InvalidHandle(RpcError):
    """The handle does not exist (any more) or is of another kind."""

    code = -32005
    kind = "InvalidHandle"


class AmbiguousHandle(RpcError):
    """The handle was left out and several are alive."""

    code = -32005
    kind = "AmbiguousHandle"


class NotYours(RpcError):
    """The handle belongs to another connection."""

    code = -32005
    kind = "NotYours"


class OutOfMemory(RpcError):
    """Refused before the runtime was called: ``needed_bytes``, ``available_bytes``, ``reserve_bytes``, ``loaded``.

    And ``given_back_bytes``, where others were to be unloaded for it.
    """

    code = -32006
    kind = "OutOfMemory"


class ModelAlreadyLoaded(RpcError):
    """As many models are loaded as the configuration allows: ``loaded``."""

    code = -32007
    kind = "ModelAlreadyLoaded"


class NotSupported(RpcError):
    """The runtime version or platform lacks it: ``runtime``, ``needs``."""

    code = -32008
    kind = "NotSupported"


class PermissionDenied(RpcError):
    """What this client may not do, or not here: see the protocol's table; ``setting`` names what would allow it."""

    code = -32009
    kind = "PermissionDenied"


class ShuttingDown(RpcError):
    """The daemon is leaving; connect again in a moment."""

    code = -32010
    kind = "ShuttingDown"


class RuntimeUnavailable(RpcError):
    """No usable runtime library: ``searched``, ``found``, ``fix``."""

    code = -32011
    kind = "RuntimeUnavailable"

    @property
    def sentence(self) -> str:
        """Return the message with the fix, for a person; just once where the message is the fix already."""
        fix = self.data["fix"]
        return self.message if fix in self.message else f"{self.message} {fix}"


class Crashed(RpcError):
    """The daemon has ended while the call ran or waited: ``crash``, as ``last_crash`` in ``server.status``, or null."""

    code = -32013
    kind = "Crashed"


class Restarting(RpcError):
    """There is no daemon just now, and its keeper answers: ``retry_after_ms``, ``crashes``, ``end``.

    The keeper has the code as well (``rkllmd/keeper/words.py``): it must not import this.
    """

    code = -32014
    kind = "Restarting"


class DeviceLost(RpcError):
    """The NPU is stuck: ``since``, ``for_ms``, ``reason``, ``advice``, ``retry_after_ms``."""

    code = -32012
    kind = "DeviceLost"


class Quarantined(RpcError):
    """The model has crashed the daemon again and again: ``function``, ``model_path``, ``crashes`` (``at``, ``end``)."""

    code = -32015
    kind = "Quarantined"


class NotKept(RpcError):
    """A job could not be written down, so that nothing can be promised: ``reason``."""

    code = -32016
    kind = "NotKept"


class FormatNotMet(RpcError):
    """An answer could not be brought to the form that was asked for: ``finish_reason``, why it ended before."""

    code = -32017
    kind = "FormatNotMet"


def let_frames_go(error: BaseException) -> None:
    """Take their frames away from an error that was told, and from those that led to it.

    Frames refer to what a client has sent, and often to an error in turn: only the garbage collector would find it.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        found = pending.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            pending += (found.__cause__, found.__context__)
