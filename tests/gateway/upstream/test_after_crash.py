"""What waited when a daemon crashed may be sent again, to another board too; what it worked on may not."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.upstream import after_crash
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.wire import Wire
from tests.daemon import Daemon, until
from tests.gateway.process import gateway

# Not streamed: a stream may begin before its run does.
HELLO = {"stream": False, "messages": [{"role": "user", "content": "Hello"}]}
DAEMON, OURS = 812, 77


def crash(*requests: int | None, runs: int = 1) -> dict[str, Any]:
    """Return ``last_crash`` of a daemon with calls of these ids in C; None for no call."""
    call, *beside = [None if item is None else {"request": item, "runs": runs} for item in requests]
    return {"pid": DAEMON, "call": call, "beside": beside}


@pytest.mark.parametrize(
    ("found", "daemon", "expected"),
    [
        (crash(None), DAEMON, True),
        (crash(5), DAEMON, True),
        (crash(5, 6), DAEMON, True),
        (crash(OURS), DAEMON, False),
        (crash(5, OURS), DAEMON, False),
        (crash(5, runs=2), DAEMON, False),
        (crash(5), DAEMON + 1, False),
        (crash(5), None, False),
        (None, DAEMON, False),
    ],
)
def test_only_what_is_certain_may_be_sent_again(found: Any, daemon: int | None, expected: bool) -> None:
    assert after_crash.is_certain(found, daemon, OURS) is expected


class Cut:
    """A daemon whose connections the gateway has cut, since it ends."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield one."""
        ours, theirs = socket.socketpair()
        wire = Wire(ours)
        wire.cut()
        with theirs, closing(Connection(wire)) as connection:
            yield connection


async def test_where_the_gateway_ends_the_call_may_have_begun() -> None:
    with pytest.raises(Failure) as told:
        await after_crash.check(Cut(), DAEMON, OURS)
    assert (told.value.status, told.value.kind) == (502, "ShuttingDown")


def test_what_waited_is_a_503_and_what_ran_a_502(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start(keeper=True, scenario="text=abcdef;prefill_hold=1")
    daemon.load()
    with (
        gateway(daemon.path, tmp_path) as address,
        ThreadPoolExecutor() as threads,
        httpx.Client(base_url=address, timeout=300) as http,
        daemon.connect() as wire,
    ):
        ran = threads.submit(http.post, "/v1/chat/completions", json=HELLO)
        daemon.wait_enter("rkllm_run_async")
        waited = [threads.submit(http.post, path, json=HELLO) for path in ("/v1/chat/completions", "/api/chat")]
        until("both wait", lambda: wire.ask("server.queue")["result"]["length"] == 2)
        os.kill(wire.ask("server.status")["result"]["daemon_pid"], signal.SIGKILL)
        assert [call.result().status_code for call in (ran, *waited)] == [502, 503, 503]
        assert "x-should-retry" not in waited[0].result().headers
