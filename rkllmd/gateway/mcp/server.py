"""The server for MCP hosts: which tools and resources there are, in the SDK's terms. Both eras of the protocol are its.

What goes wrong in a tool is a result that says so, as the protocol wants it, so that the host's model can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import orjson
import trio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
    TextResourceContents,
    Tool,
    ToolAnnotations,
    UnsubscribeRequestParams,
)

from rkllmd import __version__
from rkllmd.client import ClientError
from rkllmd.gateway import failures, models
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.mcp import calls, tools
from rkllmd.gateway.mcp.calls import Report
from rkllmd.gateway.mcp.subscriptions import MODELS, STATUS, Subscriptions, opened
from rkllmd.gateway.mcp.tools import Classifier
from rkllmd.gateway.openai import shape
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.json_types import Json, JsonObject

Context = ServerRequestContext[Subscriptions]

_INSTRUCTIONS: Final = (
    "The language and vision models of this board's NPU. They are small: ask them for one thing at a time. One call "
    "runs at once, others wait for their turn."
)
# Each call has a connection of its own: some are left for the daemon's other clients.
_MOST_AT_ONCE: Final = 32
_JSON: Final = "application/json"
_RESOURCES: Final = {
    STATUS: "What the NPU does now, what is loaded, and what it runs on",
    MODELS: "The models that can be asked, with the size of their context and whether they take pictures",
}


def serve(upstream: Upstream, classifiers: Mapping[str, Classifier]) -> Server[Subscriptions]:
    """Return the server, which is a client of the daemon behind ``upstream``."""
    host = _Host(upstream, classifiers)
    return Server(
        "rkllmd",
        version=__version__,
        title="NPU",
        instructions=_INSTRUCTIONS,
        lifespan=lambda server: opened(upstream),
        on_list_tools=host.list_tools,
        on_call_tool=host.call_tool,
        on_list_resources=host.list_resources,
        on_list_resource_templates=host.list_resource_templates,
        on_read_resource=host.read_resource,
        on_subscribe_resource=host.subscribe,
        on_unsubscribe_resource=host.unsubscribe,
        on_subscriptions_listen=host.listen,
    )


class _Host:
    """Answers hosts."""

    def __init__(self, upstream: Upstream, classifiers: Mapping[str, Classifier]) -> None:
        self._upstream = upstream
        self._classifiers = classifiers
        self._places = trio.CapacityLimiter(_MOST_AT_ONCE)

    async def list_tools(self, context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        """Return the tools."""
        return ListToolsResult(
            tools=[
                Tool(
                    name=item.name,
                    title=item.title,
                    description=item.description,
                    input_schema=item.schema,
                    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
                )
                for item in tools.offered(self._classifiers)
            ]
        )

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """Do what a tool does. Raises MCPError for one that there is not."""
        if params.name not in [item.name for item in tools.offered(self._classifiers)]:
            raise MCPError(INVALID_PARAMS, f"There is no tool {params.name[:64]!r}: tools/list names those there are.")
        try:
            arguments = _readable(params.arguments or {})
            async with self._places:
                found = await self._work(params.name, arguments, partial(_report, context))
        except (Failure, WrongField, ClientError) as error:
            said = failures.of(error).message
            return CallToolResult(content=[TextContent(type="text", text=said)], is_error=True)
        text = found["text"] if found.get("text") else orjson.dumps(found).decode()
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=found)

    async def _work(self, name: str, arguments: JsonObject, report: Report) -> JsonObject:
        if name == "classify":
            return await calls.classify(self._upstream, tools.read_classify(arguments, self._classifiers))
        if name == "embed":
            return await calls.embed(self._upstream, tools.read_embed(arguments))
        wanted = tools.read_generate(arguments) if name == "generate" else tools.read_chat(arguments)
        return await calls.generate(self._upstream, wanted, report)

    async def list_resources(self, context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        """Return the resources."""
        return ListResourcesResult(
            resources=[
                Resource(name=uri.rpartition("/")[2], uri=uri, description=about, mime_type=_JSON)
                for uri, about in _RESOURCES.items()
            ]
        )

    async def list_resource_templates(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """Return none: hosts ask for them where there are resources."""
        return ListResourceTemplatesResult(resource_templates=[])

    async def read_resource(self, context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Return a resource. Raises MCPError."""
        uri = _known(params.uri)
        try:
            async with self._upstream.connection() as connection:
                status = await connection.status()
        except ClientError as error:
            raise MCPError(INTERNAL_ERROR, failures.of(error).message) from None
        found: Json = status if uri == STATUS else shape.model_list(models.listed(status))
        text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, text=text, mime_type=_JSON)])

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Tell the host of updates to a resource from now on (up to revision 2025-11-25). Raises MCPError."""
        # The SDK has no other name for who asks, nor for the end of that connection.
        context.lifespan_context.subscribe(context.session._connection, _known(params.uri))
        return EmptyResult()

    async def unsubscribe(self, context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell it no more. Raises MCPError."""
        context.lifespan_context.unsubscribe(context.session._connection, _known(params.uri))
        return EmptyResult()

    async def listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Tell the host of updates as long as it reads the stream (from revision 2026-07-28 on). Raises MCPError."""
        return await context.lifespan_context.listen(context, params)


def _readable(arguments: JsonObject) -> JsonObject:
    """Return arguments that the daemon can be sent. Raises WrongField for whole numbers and texts that it can't."""
    try:
        orjson.dumps(arguments)
    except TypeError as error:
        raise WrongField("", f"The arguments can't be passed on to the daemon as JSON: {error}.") from None
    return arguments


def _known(uri: str) -> str:
    """Return the URI of a resource that there is. Raises MCPError."""
    if uri not in _RESOURCES:
        message = f"There is no resource {uri[:64]!r}: resources/list names those there are."
        raise MCPError(INVALID_PARAMS, message, {"uri": uri.encode(errors="replace").decode()})
    return uri


async def _report(context: Context, done: float, most: float | None, doing: str) -> None:
    await context.session.report_progress(done, most, doing)
