"""Which of the calls that a daemon had when it crashed had begun: the next daemon says of which one it was."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import trio

from rkllmd.client import ClientError
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.upstream.connection import Connection, ended
from rkllmd.json_types import Json

# The next daemon may take that long to start; then it is not known, which is as if the call had begun.
_SECONDS: Final = 60.0
NOT_BEGUN: Final = "The NPU daemon crashed before it had begun with this: send it again."


class Daemons(Protocol):
    """Where the next daemon is reached."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection. Raises ConnectError."""


async def check(daemons: Daemons, daemon: int | None, call_id: int) -> None:
    """Raise Failure for a call that the process ``daemon`` had not begun with; return where that is not certain.

    Where the gateway ends meanwhile, Failure says that the call may have begun.
    """
    crash = None
    try:
        with trio.move_on_after(_SECONDS):
            async with daemons.connection() as connection:
                crash = (await connection.status())["last_crash"]
    except ClientError:
        return
    except Failure:  # the gateway ends: what it says of the question is not true of the call
        raise ended(is_begun=True) from None
    if is_certain(crash, daemon, call_id):
        raise Failure(503, "Restarting", NOT_BEGUN, again=True)


def is_certain(crash: Json, daemon: int | None, call_id: int) -> bool:
    """Return whether ``last_crash`` shows that the call with this id was in no C function when ``daemon`` crashed."""
    if crash is None or daemon is None or crash["pid"] != daemon:
        return False
    calls = [call for call in (crash["call"], *crash["beside"]) if call is not None]
    # Of several runs that share a call only the first is named.
    return all(call["request"] != call_id and call["runs"] == 1 for call in calls)
