"""Hypercorn in this process, with what the gateway changes in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from rkllmd.gateway.web.bounds import connections


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[int]:
    """Serve an application on this machine; yield the port. ``settings`` are Hypercorn's."""
    connections.use()
    config = Config.from_mapping(bind=["127.0.0.1:0"], loglevel="CRITICAL", **settings)
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, app, config))
        yield int(address.rpartition(":")[2])
        nursery.cancel_scope.cancel()
