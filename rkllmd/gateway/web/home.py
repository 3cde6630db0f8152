"""``/``: the chat page for browsers, the line of text that Ollama's clients ask for others."""

from __future__ import annotations

from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from rkllmd.gateway.page import document

# Whoever keeps one of them has to know that it is not the answer for everybody.
_VARY = {"vary": "Accept"}


class Home:
    """The endpoint, a function of Starlette's."""

    @cached_property
    def _page(self) -> document.Document:
        """The page, assembled for the first browser and kept: many a gateway serves none."""
        return document.assembled()

    async def answer(self, request: Request) -> Response:
        """Return what the client came for; nothing where it has the page as it is."""
        if not document.wants_page(request.headers.get("accept", "")):
            return Response("Ollama is running", media_type="text/plain", headers=_VARY)
        headers = {**self._page.headers, **_VARY}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(self._page.body, headers=headers)
