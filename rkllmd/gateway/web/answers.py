"""What endpoints share: how the daemon is reached and pictures are had, and how an answer is JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import orjson
from starlette.responses import Response

from rkllmd.client import TrioClient, open_client
from rkllmd.gateway.pictures.showing import Pictures
from rkllmd.json_types import Json


@dataclass(frozen=True, slots=True)
class Upstream:
    """The daemon: the path of its socket (None: the default), and who has to serve it, as ``Client`` has it.

    ``pictures``: how those of requests are had.
    """

    socket: str | None = None
    requirepeer: str | None = None
    pictures: Pictures = field(default_factory=Pictures)

    def connect(self, *, reconnect: bool | None = None) -> AbstractAsyncContextManager[TrioClient]:
        """Return a connection for one request, so that nothing of it outlives the request."""
        return open_client(self.socket, reconnect=reconnect, requirepeer=self.requirepeer)


def answer_json(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON value."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")
