"""Requests that the daemon answers at any time: which models there are, how it is, what it has counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from starlette.requests import Request
from starlette.responses import Response

from rkllmd.client import ClientError
from rkllmd.gateway import failures, health, models
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.ollama import shape as ollama_shape
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.json_types import Json, JsonObject

# What is instant at the daemon, but for one that is just being started.
_SECONDS = 3.0
Endpoint = Callable[[Request], Awaitable[Response]]


class Questions:
    """The endpoints; each is a function of Starlette's."""

    def __init__(self, upstream: Upstream) -> None:
        """Ask the daemon behind ``upstream``."""
        self._upstream = upstream

    async def ask(self, *methods: str) -> list[Json]:
        """Return what the daemon answers to methods without parameters. Raises Failure, also while it is restarted."""
        return [await self._call(method) for method in methods]

    async def _call(self, method: str, params: Json = None) -> Json:
        try:
            with trio.fail_after(_SECONDS):
                async with self._upstream.connection() as connection:
                    return await connection.call(method, params)
        except trio.TooSlowError:
            raise Failure(503, "Restarting", "The NPU daemon is being started again.", again=True) from None
        except ClientError as error:
            raise failures.of(error) from None

    def endpoint(
        self, method: str, shown: Callable[[Json], Json], error: Callable[[Failure], JsonObject] = shape.error_body
    ) -> Endpoint:
        """Return an endpoint that shows what a method answers."""

        async def answer(request: Request) -> Response:
            try:
                [found] = await self.ask(method)
                return answer_json(shown(found))
            except Failure as failure:
                return answer_failure(failure, error)

        return answer

    async def model(self, request: Request) -> Response:
        """Return one model as OpenAI has it."""
        try:
            [status] = await self.ask("server.status")
            name = request.path_params["name"]
            found = models.by_name(models.listed(status), name) or models.choose(status, name)
            return answer_json(shape.model_entry(found))
        except Failure as failure:
            return answer_failure(failure, shape.error_body)

    async def show(self, request: Request) -> Response:
        """Return one model as Ollama shows it."""
        try:
            asked = await body.read_json(request.scope, request.receive)
            [status] = await self.ask("server.status")
            return answer_json(ollama_shape.shown(status, asked))
        except GoneError:
            return Response()
        except (Failure, WrongField) as error:
            return answer_failure(error, ollama_shape.error_body)

    async def job(self, request: Request) -> Response:
        """Return what has become of a job (``server.submit``); 404 where there is none."""
        asked: JsonObject = {"job": request.path_params["job"]}
        if request.query_params.get("forget") == "true":
            asked["forget"] = True
        try:
            found = await self._call("server.job", asked)
            if found["status"] == "not_found":
                raise Failure(404, "NotFound", "There is no such job, or it is not kept any more.")
        except Failure as failure:
            return answer_failure(failure, shape.error_body)
        return answer_json(found, headers={"cache-control": "no-store"})

    async def health(self, request: Request) -> Response:
        """Return whether the daemon serves: 503 while it is restarted."""
        try:
            status, queue = await self.ask("server.status", "server.queue")
        except Failure as failure:
            return answer_json({"status": failure.kind, "message": failure.message}, 503)
        code, shown = health.health(status, queue)
        return answer_json(shown, code)

    async def ready(self, request: Request) -> Response:
        """Return whether a run would be begun."""
        try:
            [status] = await self.ask("server.status")
        except Failure as failure:
            return answer_json({"ready": False, "state": failure.kind, "models": []}, 503)
        code, shown = health.readiness(status)
        return answer_json(shown, code)

    async def metrics(self, request: Request) -> Response:
        """Return what the daemon has counted, as Prometheus wants it."""
        from rkllmd.gateway import exposition  # half a megabyte for who is never asked

        try:
            [found] = await self.ask("server.metrics")
        except Failure as failure:
            return answer_failure(failure, shape.error_body)
        text, content_type = exposition.render(found["families"], request.headers.get("accept", ""))
        return Response(text, media_type=content_type)
