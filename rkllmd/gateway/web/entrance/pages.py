"""Pages of other origins: what a browser asks before it sends what they want, and what it lets them see (CORS)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp

# DELETE ends a session of MCP's.
_METHODS: Final = ("GET", "POST", "DELETE")
# Beside a few that every page may see.
_SEEN: Final = ("retry-after", "retry-after-ms", "x-should-retry", "mcp-session-id")


def for_pages(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Return an application that tells browsers that pages of ``origins`` may ask it, also one of this network.

    Whether a request is served is decided by ``Guard``; a browser that is not told sends none, or hides its answer.
    """
    if not origins:
        return app
    from starlette.middleware.cors import CORSMiddleware  # only where there are such pages

    return CORSMiddleware(
        app,
        allow_origins=sorted(origins),
        allow_methods=_METHODS,
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=_SEEN,
    )
