"""The load of a model for the request that names it. It goes on when its client hangs up: the next one has it then."""

from __future__ import annotations

from rkllmd.client import CallError
from rkllmd.client.messages import result_of
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.json_types import JsonObject


class Loading:
    """A load as a job of the daemon; that it has ended is told by an event."""

    def __init__(self, connection: Connection, name: str) -> None:
        """Prepare the load of the declared model of this name."""
        self._connection = connection
        self._name = name
        self._submitted = self._asked = 0
        self._job = ""

    async def begin(self) -> None:
        """Ask for it. Raises ClientError."""
        await self._connection.begin("server.watch", {"events": ["job"]})
        init = {"method": "rkllm.init", "params": {"model_path": self._name}}
        self._submitted = await self._connection.begin("server.submit", init)

    async def take(self, message: JsonObject) -> bool:
        """Take a message that may be about it; return whether the model is there. Raises Failure, ClientError."""
        if message.get("id") == self._submitted:
            self._job = result_of(message)["job"]
            await self._ask()
        elif message.get("method") == "server.event" and message["params"].get("job") == self._job:
            # Not twice at once: the answer that is on its way tells the end too, and forgets it.
            if not self._asked:
                await self._ask()
        elif message.get("id") == self._asked:
            self._asked = 0
            return await self._has_ended(result_of(message))
        return False

    async def _ask(self) -> None:
        self._asked = await self._connection.begin("server.job", {"job": self._job, "forget": True})

    async def _has_ended(self, found: JsonObject) -> bool:
        if found["status"] == "error":
            raise CallError(found["error"])
        if found["status"] == "not_found":
            raise Failure(503, "Restarting", "The load was lost: ask again.", again=True)
        if found["status"] != "completed":
            return False
        await self._connection.begin("server.watch", {"events": []})
        return True
