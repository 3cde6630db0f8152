"""The gateway's process: it listens, says where, and ends at SIGTERM or SIGINT."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from rkllmd.gateway.access import Access
from rkllmd.gateway.web.answers import Upstream
from rkllmd.gateway.web.routes import application

# Headers of a request, in bytes; a body is bounded by web/body.py.
_MOST_HEADERS: Final = 32 * 1024
_IDLE_SECONDS: Final = 75
# Answers that are running when the gateway is asked to end may go on for so long.
_GRACE_SECONDS: Final = 5


def run(upstream: Upstream, access: Access, addresses: Sequence[str]) -> None:
    """Serve at these addresses (``host:port``) until a signal comes. Raises OSError if one can't be had."""
    try:
        trio.run(_run, upstream, access, addresses)
    except BaseExceptionGroup as group:  # trio's nurseries wrap what ends them
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, OSError):
            raise error from None
        raise


async def _run(upstream: Upstream, access: Access, addresses: Sequence[str]) -> None:
    config = Config()
    config.bind = list(addresses)
    config.h11_max_incomplete_size = _MOST_HEADERS
    config.h2_max_header_list_size = _MOST_HEADERS
    config.keep_alive_timeout = _IDLE_SECONDS
    config.graceful_timeout = _GRACE_SECONDS
    config.include_server_header = False
    config.loglevel = "WARNING"
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def asked_to_end() -> None:
            async for _ in signals:
                return

        app = application(upstream, access)
        async with trio.open_nursery() as nursery:
            # Hypercorn's own types name the events of ASGI one by one, Starlette's any mapping.
            served = partial(serve, app, config, shutdown_trigger=asked_to_end)  # type: ignore[arg-type]
            binds = await nursery.start(served)
            print(f"rkllmd gateway serves {' '.join(binds)}", flush=True)
