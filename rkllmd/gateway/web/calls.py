"""Requests that are one call of the daemon for a model, which waits for its turn as a run does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from rkllmd.client import ClientError
from rkllmd.gateway import failures, models
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import Upstream, answer_json
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
            async with self.upstream.connect() as client:
                model = models.choose(await client.call("server.status"), wanted.model)

                async def ask() -> JsonObject:
                    shown = await self.upstream.pictures.shown(wanted.params, model.name, model.vision)
                    result: JsonObject = await client.call(self.method, {"handle": model.handle, **shown})
                    return result

                result = await unless_gone(receive, ask)
            response = answer_json(self.shown(result))
        except GoneError:
            return
        except (Failure, WrongField, ClientError) as error:
            failure = failures.of(error)
            response = answer_json(self.error(failure), failure.status, failure.headers)
        await response(scope, receive, send)
