"""What goes wrong, as HTTP has it: which status, what a client is told, and whether it should try again.

No path of this machine is in a message: a client over the network has no use for it, and it says who lives here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from rkllmd.client import CallError, CallTimeout, ClientError, ConnectError, Crashed
from rkllmd.gateway.fields import Names, WrongField

_INVALID: Final = -32602
# The kind of a failure because a prompt does not fit into the model's context; the daemon's is InvalidParams.
TOO_LONG: Final = "ContextLengthExceeded"
# The daemon's kinds of errors: the status, and whether the same request may well succeed later. What has cost the NPU
# its time and failed would do so again. 503 is for what has not begun, and only for that: balancers give it to another
# board, which one that has crashed this board must not reach.
_KINDS: Final[dict[str, tuple[int, bool]]] = {
    "ModelNotInitialized": (404, False),
    "InvalidHandle": (404, False),
    "ModelAlreadyLoaded": (409, False),
    "QueueFull": (429, True),
    "FrameTooLarge": (413, False),
    "NotSupported": (400, False),
    "PermissionDenied": (403, False),
    "Timeout": (504, False),
    "Cancelled": (500, False),
    "OutOfMemory": (503, False),
    "ShuttingDown": (503, True),
    "Restarting": (503, True),
    "DeviceLost": (503, True),
    "RuntimeUnavailable": (503, False),
    "Quarantined": (503, False),
    "Crashed": (502, False),
}
_OTHER: Final = (500, False)
_SERVICE_UNAVAILABLE: Final = 503
# An absolute path: of it only the last name is told. Not the rest of an address such as https://example.org/a.
_PATH: Final = re.compile(r"(?<![\w:/.~])/(?:[^\s/:'\",;()]+/)+([^\s/:'\",;()]*)")


class Excess(NamedTuple):
    """How many tokens a prompt has that is too long (None: not known), and how many the model's context has."""

    tokens: int | None
    most: int


@dataclass(eq=False)
class Failure(Exception):
    """A request that is refused or has failed. ``kind`` is the daemon's, ``param`` the field that is wrong.

    ``retry_after_ms``: None where nothing is known. ``again``: whether the same request may succeed later. ``excess``:
    of a prompt that does not fit into the model's context, which each protocol says in words that its clients know, for
    they shorten the conversation then.
    """

    status: int
    kind: str
    message: str
    param: str | None = None
    retry_after_ms: int | None = None
    again: bool = False
    excess: Excess | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that tell clients' retries what to do."""
        if not self.again:
            return {"x-should-retry": "false"}
        if self.retry_after_ms is None:
            return {}
        seconds = -(-self.retry_after_ms // 1000)
        return {"retry-after-ms": str(self.retry_after_ms), "retry-after": str(seconds)}


def of(error: Exception, names: Names | None = None) -> Failure:
    """Return the failure that an error is. What is no error of a request or of the daemon is raised again.

    ``names``: of which fields of the request the daemon's parameters were made, where that is known.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, WrongField):
        return Failure(400, "InvalidParams", str(error), error.name or None)
    if isinstance(error, CallError):
        return _of_call(error, names or Names())
    if isinstance(error, ConnectError):
        return Failure(
            _SERVICE_UNAVAILABLE, "Restarting", "The NPU daemon can't be reached: see that it runs.", again=True
        )
    if isinstance(error, CallTimeout):
        return Failure(504, "Timeout", "The NPU daemon did not answer in time.")
    if isinstance(error, ClientError):
        lost = isinstance(error, Crashed)
        status, kind = (_KINDS["Crashed"][0], "Crashed") if lost else (_SERVICE_UNAVAILABLE, "ConnectionLost")
        return Failure(status, kind, "The NPU daemon ended before it had answered.", again=not lost)
    raise error


def _of_call(error: CallError, names: Names) -> Failure:
    message = without_paths(str(error))
    if error.code == _INVALID:
        path = str(error.data.get("path") or "")
        parameter = path.removeprefix("$").removeprefix(".")
        field = names.field(parameter)
        for begins in filter(None, (path, parameter)):
            if message.startswith(begins):
                message = field + message.removeprefix(begins)
                break
        most, tokens = error.data.get("max_context_len"), error.data.get("tokens")
        if isinstance(most, int):
            return Failure(400, TOO_LONG, message, field or None, excess=Excess(tokens, most))
        return Failure(400, "InvalidParams", message, field or None)
    status, again = _KINDS.get(error.kind, _OTHER)
    after = error.data.get("retry_after_ms")
    milliseconds = max(1, round(after)) if isinstance(after, int | float) else None
    return Failure(status, error.kind or "RuntimeError", message, None, milliseconds, again)


def without_paths(message: str) -> str:
    """Return a message with the last name of each absolute path in the place of the path."""
    return _PATH.sub(lambda found: found[1] or "…", message)
