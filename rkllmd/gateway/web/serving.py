"""The gateway's process: it listens, says where, and ends at SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.types import ASGIApp

from rkllmd.client import ConnectError, why_no_connection
from rkllmd.gateway.access import Access
from rkllmd.gateway.access_log.log import AccessLog
from rkllmd.gateway.boards import agent
from rkllmd.gateway.boards.encryption import Tls
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web.body import MOST_BYTES
from rkllmd.gateway.web.bounds import connections, refusals
from rkllmd.gateway.web.bounds.requests import BoundedRequests
from rkllmd.gateway.web.questions import Questions
from rkllmd.gateway.web.routes import application

# Headers of a request, in bytes; a body is bounded by web/body.py.
_MOST_HEADERS: Final = 32 * 1024
_IDLE_SECONDS: Final = 75
# So long may it take those who are told that they will not be answered to read it, and then all of them to leave.
_TELL_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 2.5
# How often a WebSocket's client is asked whether it is there, which keeps the way to it open.
_PING_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, each as ``host:port``: ``agent_checks`` are for balancers, and never encrypted.

    ``grace_seconds``: how long running answers may go on once it is asked to end. ``renew``: what SIGHUP does.
    """

    addresses: Sequence[str]
    agent_checks: Sequence[str] = ()
    tls: Tls | None = None
    grace_seconds: float = 5
    renew: Callable[[], None] | None = None
    has_access_log: bool = True


def run(upstream: Upstream, access: Access, listening: Listening) -> None:
    """Serve until a signal comes. Raises OSError if an address can't be had."""
    run_to_end(partial(_run, upstream, access, listening))


def run_to_end(serve_all: Callable[[], Awaitable[None]]) -> None:
    """Run a server. Raises OSError if an address can't be had."""
    try:
        trio.run(serve_all)
    except BaseExceptionGroup as group:
        error = connections.innermost(group)
        if isinstance(error, OSError):
            raise error from None
        raise


async def _run(upstream: Upstream, access: Access, listening: Listening) -> None:
    checks = agent.Agent(Questions(upstream).ask)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upstream.watch)
        if listening.agent_checks:
            listeners = await agent.listen(listening.agent_checks)
            nursery.start_soon(partial(trio.serve_listeners, checks.answer, listeners))
        served = partial(look_for_daemon, upstream)
        app = application(upstream, access)
        await serve_until_asked("gateway", app, listening, checks.end, served, upstream.end)
        nursery.cancel_scope.cancel()


async def look_for_daemon(upstream: Upstream) -> None:
    """Say what can be done where no daemon is there: requests say over the network only that there is none."""
    try:
        (await upstream.wire()).close()
    except ConnectError as error:
        print(f"{why_no_connection(error, 'with --socket')} Until then, requests get 503.", file=sys.stderr, flush=True)


async def serve_until_asked(
    name: str,
    app: ASGIApp,
    listening: Listening,
    when_asked: Callable[[], None] = lambda: None,
    when_served: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    at_last: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
) -> None:
    """Serve an application at the addresses of ``listening``, and say so, until SIGTERM or SIGINT asks to end.

    ``when_asked`` is called then, ``when_served`` once it listens, and ``at_last`` when those who are not answered have
    had their time: it ends them in a way that tells them. Whoever asks twice does not want to wait.
    """
    connections.use()
    log = AccessLog() if listening.has_access_log else None
    refusals.OF_ALL.tell = log.refused if log else None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def asked_to_end() -> None:
            await anext(signals)
            when_asked()
            nursery.start_soon(end_the_rest)
            nursery.start_soon(asked_again)

        async def end_the_rest() -> None:
            await trio.sleep(listening.grace_seconds)
            await at_last()
            await connections.stop_sending(_TELL_SECONDS)

        async def asked_again() -> None:
            await anext(signals)
            await connections.stop_sending(0)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            bounded = BoundedRequests(log.around(app) if log else app)
            # Hypercorn's own types name the events of ASGI one by one, Starlette's any mapping.
            served = partial(serve, bounded, _config(listening), shutdown_trigger=asked_to_end)  # type: ignore[arg-type]

            async def serve_to_end(task_status: trio.TaskStatus[list[str]]) -> None:
                await served(task_status=task_status)
                nursery.cancel_scope.cancel()

            if listening.renew is not None:
                await nursery.start(_renew_when_told, listening.renew)
            binds = await nursery.start(serve_to_end)
            print(f"rkllmd {name} serves {' '.join(binds)}", flush=True)
            await when_served()
    if log:
        log.flush()


async def _renew_when_told(renew: Callable[[], None], task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            renew()


def _config(listening: Listening) -> Config:
    config = Config()
    config.h11_max_incomplete_size = _MOST_HEADERS
    config.keep_alive_timeout = _IDLE_SECONDS
    config.graceful_timeout = listening.grace_seconds + _LEAVE_SECONDS
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.websocket_max_message_size = MOST_BYTES
    config.websocket_ping_interval = _PING_SECONDS
    config.loglevel = "WARNING"
    config.bind = list(listening.addresses)
    if listening.tls is not None:
        config.certfile, config.keyfile = str(listening.tls.certificate), str(listening.tls.key)
        if listening.tls.clients is not None:
            config.ca_certs, config.verify_mode = str(listening.tls.clients), ssl.CERT_REQUIRED
    return config
