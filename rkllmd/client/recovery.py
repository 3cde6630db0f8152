"""What becomes of a call whose connection has ended: decided without a socket and without a clock.

Three things are told apart. What never reached the daemon can go over another connection, if it does not rely on what
was made over the old one. What the daemon had, and may have acted upon, is never sent again: its caller is told
``Crashed``. What changes nothing is sent again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Final

from rkllmd.client.arguments import Params
from rkllmd.client.errors import CallError, ClientError, ConnectionLost, Crashed
from rkllmd.json_types import Json, JsonObject

# What may be sent twice: it changes nothing, and needs nothing of its connection. Unless one of these parameters is
# given and true. As the daemon says it in rpc.discover, x-repeatable.
REPEATABLE: Final[Mapping[str, frozenset[str]]] = {
    "rkllm.createDefaultParam": frozenset(),
    "rkllm.get_constants": frozenset(),
    "rkllm.get_functions": frozenset(),
    "rkllm.get_kv_cache_size": frozenset(),
    "rkllm.is_running": frozenset(),
    "rknn.get_constants": frozenset(),
    "rknn.get_functions": frozenset(),
    "rpc.discover": frozenset(),
    "server.job": frozenset({"forget"}),
    "server.metrics": frozenset(),
    "server.model": frozenset(),
    "server.prompt_caches": frozenset(),
    "server.queue": frozenset(),
    "server.sessions": frozenset(),
    "server.status": frozenset(),
}
_RUNS: Final = ("rkllm.run", "rkllm.run_async")
_SUBMIT: Final = "server.submit"
_WATCH: Final = "server.watch"

# Nobody accepts connections: a daemon that is started again does after a second, with systemd nobody notices at all.
ABSENT_SECONDS: Final = 10.0
# The daemon says itself that it is being started again; the keeper's pauses are up to half a minute long.
RESTARTING_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0

# The daemon's last words on a connection. The first: nobody has read what was sent (protocol, section 8).
_RESTARTING: Final = "Restarting"
_SHUTTING_DOWN: Final = "ShuttingDown"


def is_repeatable(method: str, params: Params) -> bool:
    """Return whether a call may be sent again although the daemon may have had it."""
    unless = REPEATABLE.get(method)
    if unless is None:
        return False
    # Among positional parameters it is not known which is which.
    return not unless or (isinstance(params, Mapping) and not any(params.get(name) for name in unless))


def left_by(method: str, params: Params, members: Mapping[str, object]) -> str | None:
    """Return what a call leaves with its connection, or relies on there, as a person would say it; None for nothing."""
    if method == _SUBMIT and isinstance(params, Mapping):  # what a job makes is its connection's
        submitted: Mapping[str, Json] = params
        return left_by(submitted.get("method", ""), submitted.get("params"), members)
    if method.startswith("rknn.") and method not in REPEATABLE:
        return "RKNN contexts and memories"
    if method in _RUNS and not members.get("session") and _given(params, "keep_history"):
        return "a conversation"
    return None


def _given(params: Params, name: str) -> object:
    """Return a field's value, wherever it stands in the three forms of parameters; None if nowhere."""
    found = params.get(name) if isinstance(params, Mapping) else None
    inner = params.values() if isinstance(params, Mapping) else params if isinstance(params, list | tuple) else ()
    return found or next((item[name] for item in inner if isinstance(item, dict) and item.get(name)), None)


# What a watcher gets where it goes on over another connection: it may have missed something.
RECONNECTED: Final[JsonObject] = {"event": "reconnected"}


class Lost(Exception):
    """The connection has ended; ``was_sent``: the whole call had been sent by then.

    ``farewell``: the Error that the daemon closed it with. ``was_heard``: the daemon had said something before that.
    """

    def __init__(self, *, was_sent: bool, farewell: JsonObject | None = None, was_heard: bool = False) -> None:
        super().__init__()
        self.was_sent = was_sent
        self.farewell = farewell
        self._was_heard = was_heard

    @property
    def kind(self) -> str | None:
        """Return the kind of the daemon's last words; None if there were none."""
        return None if self.farewell is None else (self.farewell.get("data") or {}).get("kind", "")

    @property
    def is_unread(self) -> bool:
        """Return whether nobody can have acted upon the call."""
        return not self.was_sent or (self.kind == _RESTARTING and not self._was_heard)

    @property
    def retry_after(self) -> float:
        """Return in how many seconds the daemon wants to be asked again."""
        milliseconds = ((self.farewell or {}).get("data") or {}).get("retry_after_ms")
        return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0

    def error(self, method: str) -> ClientError:
        """Return what the caller of ``method`` is told."""
        if self.farewell is not None:
            return CallError(self.farewell)
        return Crashed(method) if self.was_sent else ConnectionLost()


class Attempts:
    """One call, and the connections over which it is tried. ``deadline``: by the caller's clock, infinite for none.

    ``reconnect``: None where the call is to be sent over another connection if that can do no harm; true if the program
    says that its calls rely on nothing of their connection; false if no other connection is to be made.
    """

    def __init__(
        self, method: str, params: Params, members: Mapping[str, object], *, reconnect: bool | None, deadline: float
    ) -> None:
        self.method = method
        self.deadline = deadline
        self.leaves = left_by(method, params, members)
        self._is_repeatable = method == _WATCH or is_repeatable(method, params)
        self._reconnect = reconnect
        self._failing_since: float | None = None
        self._next_pause = 0.0

    @property
    def may_reconnect(self) -> bool:
        """Return whether another connection may be made for this call."""
        return self._reconnect is not False

    def refusal(self, gone: str | None) -> ConnectionLost | None:
        """Return why the call can't go over another connection, with this gone; None if it can."""
        if gone is None or self._reconnect or self._is_repeatable:
            return None
        return ConnectionLost(
            f"The daemon was replaced, and what this client had there is gone with the connection ({gone}). "
            f"{self.method} was not sent: call reconnect() of the client, and make anew what the program needs."
        )

    def failure(self, lost: Lost) -> ClientError | None:
        """Return what the caller is told; None: the call may be sent again."""
        if not self.may_reconnect or lost.kind not in (None, _RESTARTING, _SHUTTING_DOWN):
            return lost.error(self.method)
        if lost.is_unread or self._is_repeatable:
            return None
        return lost.error(self.method)

    def is_refused_for_now(self, message: JsonObject) -> bool:
        """Return whether an answer says no more than that this daemon leaves, and another one can be asked instead."""
        if "error" not in message or not self._is_repeatable or not self.may_reconnect:
            return False
        return (message["error"].get("data") or {}).get("kind") == _SHUTTING_DOWN

    def pause(self, now: float, lost: Lost | None = None) -> float | None:
        """Return how long to wait before the next attempt; None if that would be too late.

        ``lost``: why another one is needed; None where nobody accepts connections.
        """
        retry_after = 0.0 if lost is None else lost.retry_after
        if self._failing_since is None:
            self._failing_since = now
        longest = RESTARTING_SECONDS if lost is not None and lost.kind == _RESTARTING else ABSENT_SECONDS
        until = self.deadline if self.deadline < math.inf else self._failing_since + longest
        # By chance, so that the clients of one daemon do not all come at the same moment.
        seconds = max(retry_after, self._next_pause * random.uniform(0.5, 1.0))
        self._next_pause = min(max(_FIRST_PAUSE, self._next_pause * 2), _LONGEST_PAUSE)
        return seconds if now + seconds < until else None
