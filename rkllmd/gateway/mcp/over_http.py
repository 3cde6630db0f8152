"""The process for MCP hosts that come over HTTP: streamable, at ``/mcp``."""

from __future__ import annotations

from functools import partial
from typing import Final

from mcp.server.lowlevel.server import Server
from mcp.server.transport_security import TransportSecuritySettings

from rkllmd.gateway.access import Access
from rkllmd.gateway.web import serving
from rkllmd.gateway.web.body import MOST_BYTES
from rkllmd.gateway.web.entrance.addresses import PlainAddresses
from rkllmd.gateway.web.entrance.guard import Guard
from rkllmd.gateway.web.entrance.pages import for_pages
from rkllmd.gateway.web.serving import Listening

# Sessions are kept for hosts of the earlier era; each costs memory and a task. One that asks for nothing, and has no
# stream open, is over after a while.
_MOST_SESSIONS: Final = 256
_SESSION_SECONDS: Final = 600


def serve(server: Server, access: Access, listening: Listening) -> None:
    """Serve hosts at ``/mcp`` until a signal comes. Raises OSError if an address can't be had."""
    # Who may come is decided as for the gateway.
    without_its_own = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(
        transport_security=without_its_own,
        max_request_body_size=MOST_BYTES,
        max_sessions=_MOST_SESSIONS,
        session_idle_timeout=_SESSION_SECONDS,
    )
    guarded = for_pages(PlainAddresses(Guard(app, access)), access.origins)
    serving.run_to_end(partial(serving.serve_until_asked, "mcp", guarded, listening))
