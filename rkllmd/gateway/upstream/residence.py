"""A model that a client wants in memory, or out of it, without a run. Whether it may, the daemon decides."""

from __future__ import annotations

from contextlib import suppress

from rkllmd.client import ClientError
from rkllmd.gateway import models
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.run import Residence
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.loading import Loading
from rkllmd.json_types import JsonObject


async def leave(connection: Connection, name: str | None) -> None:
    """Begin to unload a model after its answer, if the next request for it loads it again.

    Otherwise it would be gone for everybody. It is a job, since it does not end with the request. That it can't be done
    is no error: the answer is there, whatever becomes of the model.
    """
    with suppress(Failure, ClientError):
        model = models.choose(await connection.status(), name)
        if model.swap and model.is_loaded:
            await connection.call("server.submit", {"method": "rkllm.destroy", "params": {"handle": model.handle}})


class Move:
    """A load or an unload, in its turn among the calls of others."""

    def __init__(self, connection: Connection, name: str | None, residence: Residence) -> None:
        """Prepare it for the model of this name; None: the only one."""
        self._connection = connection
        self._name = name
        self._residence = residence

    async def whole(self) -> tuple[ServedModel, JsonObject]:
        """Return the model once it is there, or not any more, and a result as that of a run without words.

        One that sleeps is out of memory; a load wakes it if it may be swapped in, otherwise its next run does.
        Raises Failure, ClientError.
        """
        model = models.find(await self._connection.status(), self._name)
        record.current().model = model.name
        is_here = model.is_loaded if model.swap else model.handle is not None
        if self._residence is Residence.LOADED and not (is_here or model.is_loading):
            await self._load(model)
        if self._residence is Residence.UNLOADED and model.is_loaded:
            await self._connection.call("rkllm.destroy", {"handle": model.handle})
        return model, {"text": "", "finish_reason": self._residence.value}

    async def _load(self, model: ServedModel) -> None:
        loading = Loading(self._connection, model.name)
        await loading.begin()
        while True:
            for message in await self._connection.receive():
                if await loading.take(message):
                    return
