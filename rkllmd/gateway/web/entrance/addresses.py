"""Which address a request is for: people and their clients write one and the same in several ways."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

# Clients that are told of a proxy name the host as well (RFC 9112, 3.2.2).
_HOST: Final = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)
_SLASHES: Final = re.compile("//+")


def plain(path: str) -> str:
    """Return a path without a host, doubled slashes, and a slash at its end."""
    return _SLASHES.sub("/", "/" + _HOST.sub("", path.lstrip("/"))).rstrip("/") or "/"


class PlainAddresses:
    """An ASGI application before another one, which knows each address in one way.

    A redirection would need to know under which name and behind which balancer the client has found this server, and
    not every client follows one with the body of a POST.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "path": plain(scope["path"])}
        await self._app(scope, receive, send)
