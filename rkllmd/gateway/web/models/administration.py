"""What llama.cpp's server has for the models: what one is like, and that it is loaded or unloaded."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from rkllmd.client import ClientError
from rkllmd.gateway import models
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import body
from rkllmd.gateway.web.answers import answer_failure, answer_json
from rkllmd.gateway.web.body import GoneError
from rkllmd.json_types import JsonObject


class Administration:
    """The endpoints; each is a function of Starlette's. Whether a change is allowed, the daemon decides."""

    def __init__(self, upstream: Upstream) -> None:
        """Change the models of the daemon behind ``upstream``."""
        self._upstream = upstream

    async def load(self, request: Request) -> Response:
        """Begin to load a declared model; /v1/models says when that is done."""
        return await self._change(request, _load)

    async def unload(self, request: Request) -> Response:
        """Begin to unload a model, after the calls that wait for it."""
        return await self._change(request, _unload)

    async def _change(self, request: Request, change: Callable[[ServedModel], JsonObject | None]) -> Response:
        try:
            fields = Fields(await body.read_json(request.scope, request.receive))
            name = fields.text("model")
            fields.end()
            async with self._upstream.connection() as connection:
                model = models.find(await connection.status(), name)
                record.current().model = model.name
                if (call := change(model)) is not None:
                    # A job, since it does not end with this request.
                    await connection.call("server.submit", call)
            return answer_json({"success": True})
        except GoneError:
            return Response()
        except (Failure, WrongField, ClientError) as error:
            return answer_failure(error, shape.error_body)

    async def props(self, request: Request) -> Response:
        """Return what a model is like: the one that ``model`` names, or the only one."""
        try:
            async with self._upstream.connection() as connection:
                status = await connection.status()
                model, whole = models.choose(status, request.query_params.get("model")), None
                if model.handle is not None:
                    whole = await connection.call("server.model", {"handle": model.handle})
            return answer_json(shape.props(status, model, whole))
        except (Failure, ClientError) as error:
            return answer_failure(error, shape.error_body)


def _load(model: ServedModel) -> JsonObject | None:
    """Return the call that loads a model, None where it is loaded. Raises Failure."""
    if model.is_loaded or model.is_loading:
        return None
    if not model.is_declared:
        raise Failure(400, "InvalidParams", "model is asleep, and the next request to it loads it: send that.", "model")
    return {"method": "rkllm.init", "params": {"model_path": model.name}}


def _unload(model: ServedModel) -> JsonObject:
    if model.handle is None:
        raise Failure(400, "InvalidParams", f"The model {model.name} is not loaded.", "model")
    return {"method": "rkllm.destroy", "params": {"handle": model.handle}}
