"""Requests that are one call of the daemon for a model, which waits for its turn as a run does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.gateway.web.hang_up import unless_gone
from rkllmd.json_types import Json, JsonObject


@dataclass(frozen=True, slots=True)
class CallEndpoint:
    """An ASGI application that calls ``method`` with what ``read`` makes of a request, and shows what it answers."""

    upstream: Upstream
    method: str
    read: Callable[[Json], Wanted]
    shown: Callable[[JsonObject], JsonObject]
    error: Callable[[Failure], JsonObject]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            wanted = self.read(await body.read_json(scope, receive))
            async with self.upstream.connection() as connection:
                run = Run(self.upstream, connection, wanted, self.method)
                _, result = await unless_gone(receive, run.whole)
            response = answer_json(self.shown(result))
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            response = answer_failure(error, self.error)
        await response(scope, receive, send)
