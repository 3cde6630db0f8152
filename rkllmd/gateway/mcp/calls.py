"""What tools do: calls of the daemon, each over a connection of its own, whose end aborts a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from rkllmd.gateway import progress
from rkllmd.gateway.embeddings.protocol import WantedVectors
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.mcp.tools import WantedClasses, classes
from rkllmd.gateway.openai import shape
from rkllmd.gateway.openai.tools.custom import custom_call
from rkllmd.gateway.run import Wanted, check_ended
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.vectors import vectors
from rkllmd.json_types import JsonObject

# How often a host that waits for its turn is told where it stands.
_WAITING_SECONDS: Final = 4.5
# A host is told of tokens this often at most.
_TOLD_SECONDS: Final = 0.2
_NCHW: Final = "RKNN_TENSOR_NCHW"
_DIMENSIONS: Final = 4

# Tells a host how far its call is: a number that grows, that at the end or None, and what is done.
Report = Callable[[float, float | None, str], Awaitable[None]]


async def generate(upstream: Upstream, wanted: Wanted, report: Report) -> JsonObject:
    """Return the answer of a model. Raises Failure, WrongField, ClientError."""
    async with upstream.connection() as connection:
        generation = _Generation(Run(upstream, connection, wanted), wanted.params.get("max_new_tokens"), report)
        name, result = await generation.result()
    answer: JsonObject = {"text": generation.text, "model": name, "finish_reason": result.get("finish_reason")}
    if generation.reasoning:
        answer["reasoning"] = generation.reasoning
    if calls := result.get("tool_calls"):
        answer["tool_calls"] = [_shown(call, wanted.custom) for call in calls]
    return {**answer, "usage": shape.usage(result)}


def _shown(call: JsonObject, custom: frozenset[str]) -> JsonObject:
    if call["function"]["name"] in custom:
        return custom_call(call)
    return {name: call[name] for name in ("id", "type", "function")}


class _Generation:
    """One run, of which a host is told while it goes on."""

    def __init__(self, run: Run, most: int | None, report: Report) -> None:
        self.text = self.reasoning = ""
        self._run = run
        self._most = most
        self._report = report
        self._pieces = self._told = self._times_told = 0
        self._told_at = -_TOLD_SECONDS

    async def result(self) -> tuple[str, JsonObject]:
        """Return the model's name and the final result. Raises Failure, WrongField, ClientError."""
        while True:
            model = await self._run.begin()
            while not self._run.is_misdirected:
                for result in await self._next():
                    self.text += result.get("text") or ""
                    self.reasoning += result.get("reasoning") or ""
                    self._pieces += "finish_reason" not in result
                await self._tell()
                if self._run.is_done:
                    return model.name, check_ended(result)

    async def _next(self) -> list[JsonObject]:
        """Return what comes next; where nothing has for some seconds, only the queue is new."""
        with trio.move_on_after(_WAITING_SECONDS):
            return await self._run.results()
        if not self._pieces:
            await self._run.ask_queue()
        return await self._run.results()

    async def _tell(self) -> None:
        if not self._pieces:
            # What is told has to grow; the first token is 1.
            self._times_told += 1
            done, most = 1 - 1 / (1 + self._times_told), None
        elif self._pieces > self._told and self._is_due():
            done, most, self._told_at = self._pieces, self._most, trio.current_time()
            self._told = self._pieces
        else:
            return
        await self._report(done, most, progress.describe(self._run.queue, has_begun=bool(self._pieces)))

    def _is_due(self) -> bool:
        return self._run.is_done or trio.current_time() - self._told_at >= _TOLD_SECONDS


async def embed(upstream: Upstream, wanted: WantedVectors) -> JsonObject:
    """Return a vector for each text. Raises Failure, WrongField, ClientError."""
    async with upstream.connection() as connection:
        found = await vectors(upstream, connection, wanted)
    embeddings = [vector.tolist() for vector in found.vectors]
    return {"embeddings": embeddings, "model": found.model, "usage": {"prompt_tokens": found.tokens}}


async def classify(upstream: Upstream, wanted: WantedClasses) -> JsonObject:
    """Return the likeliest classes of a picture. Raises Failure, WrongField, ClientError."""
    async with upstream.connect(reconnect=False) as client:  # the loaded model goes with it
        loaded = await client.call("rknn.init", {"model_path": wanted.classifier.path})
        context = loaded["context"]
        taken = await client.call("rknn.query", [context, "RKNN_QUERY_INPUT_ATTR"])
        pixels = await upstream.pictures.pixels(wanted.picture, _encoder(taken))
        asked = {"context": context, "input_data": pixels, "outputs": True, "want_float": True, "top_k": wanted.count}
        result = await client.call("rknn.run", asked)
    return {"classes": classes(result["outputs"][0]["top"], wanted.classifier.labels)}


def _encoder(attribute: JsonObject) -> JsonObject:
    """Return what pictures a model takes, by its first input. Raises Failure."""
    dims = attribute["dims"]
    if len(dims) != _DIMENSIONS:
        raise Failure(400, "NotSupported", "This classifier takes no pictures: declare another one.")
    height, width = dims[2:4] if attribute["fmt"] == _NCHW else dims[1:3]
    return {"width": width, "height": height, "fit": "stretch"}
