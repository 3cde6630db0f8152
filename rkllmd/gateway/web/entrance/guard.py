"""Who may come is decided before anything of a request is read; what is refused has the shape that its clients know."""

from __future__ import annotations

from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from rkllmd.gateway.access import Access
from rkllmd.gateway.access_log import record
from rkllmd.gateway.anthropic import shape as anthropic_shape
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.ollama import shape as ollama_shape
from rkllmd.gateway.openai import shape
from rkllmd.gateway.web.answers import answer_failure
from rkllmd.json_types import JsonObject


def error_body(path: str, failure: Failure) -> JsonObject:
    """Return a failure as the clients have it that ask for this address."""
    if path.removeprefix("/v1").startswith("/messages"):
        return anthropic_shape.error_body(failure)
    if path.startswith("/api/"):
        return ollama_shape.error_body(failure)
    return shape.error_body(failure)


class Guard:
    """Refuses who may not come, before anything of the request is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before ``app``."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            record.current().key = key = self._access.whose(headers)
            refusal = self._access.refusal(scope["path"], headers, key)
            if refusal is not None:
                await answer_failure(refusal, partial(error_body, scope["path"]))(scope, receive, send)
                return
        await self._app(scope, receive, send)
