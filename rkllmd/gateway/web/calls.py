"""Requests that are calls of the daemon for a model: they wait for their turn as a run does, and are answered whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import Json, JsonObject

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class CallEndpoint(Generic[W]):
    """An ASGI application that answers what ``work`` returns for what ``read`` makes of a request."""

    upstream: Upstream
    read: Callable[[Json], W]
    work: Callable[[Connection, W], Awaitable[JsonObject]]
    error: Callable[[Failure], JsonObject]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            wanted = self.read(await body.read_json(scope, receive))
            async with self.upstream.connection() as connection:
                response = answer_json(await unless_gone(receive, partial(self.work, connection, wanted)))
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            response = answer_failure(error, self.error)
        await response(scope, receive, send)
