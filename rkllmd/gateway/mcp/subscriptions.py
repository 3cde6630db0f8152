"""Hosts that want to know when a resource changes, in both eras of the protocol: the daemon's events tell of it.

An update says that something changed, and not what: a host reads the resource again. So updates that follow each other
fast are one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ServerEvent
from mcp_types import SubscriptionFilter, SubscriptionsListenRequestParams, SubscriptionsListenResult

from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.json_types import JsonObject

STATUS: Final = "rkllmd://status"
MODELS: Final = "rkllmd://models"
# The daemon's events, and the resources of which they tell that something else is in them.
_CHANGED: Final[Mapping[str, frozenset[str]]] = {
    "queue": frozenset({STATUS}),
    "models": frozenset({STATUS, MODELS}),
}
# A host is told of a resource this often at most; the last change is always told.
_PAUSE_SECONDS: Final = 1.0
# Hosts, or streams of one: each of them costs memory, and a task.
_MOST: Final = 256
# Updates that a stream's host has not taken: more than these, and it does not read.
_MOST_UNREAD: Final = 16


@asynccontextmanager
async def opened(upstream: Upstream) -> AsyncIterator[Subscriptions]:
    """Serve subscriptions until the end of the block."""
    async with trio.open_nursery() as nursery:
        subscriptions = Subscriptions(upstream, nursery)
        nursery.start_soon(subscriptions.publish)
        yield subscriptions
        nursery.cancel_scope.cancel()


class Subscriptions:
    """Who wants to know of what. The daemon is watched as long as there is anybody."""

    def __init__(self, upstream: Upstream, nursery: trio.Nursery) -> None:
        """Begin with nobody; tasks run in ``nursery``."""
        self._upstream = upstream
        self._nursery = nursery
        self._bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._bus, max_subscriptions=_MOST, max_buffered_events=_MOST_UNREAD)
        self._subscribers: dict[Connection, _Subscriber] = {}
        self._open = 0
        self._watching = trio.CancelScope()
        self._is_there = False
        self._changed: set[str] = set()
        self._news = trio.Event()

    async def listen(
        self, context: ServerRequestContext[Subscriptions], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve a stream of updates (from revision 2026-07-28 on), as long as the host reads it. Raises MCPError.

        The host is told which of its wishes are heeded: of this server's lists none ever changes.
        """
        wanted = params.notifications.resource_subscriptions or ()
        heeded = SubscriptionFilter(resource_subscriptions=[uri for uri in wanted if uri in (STATUS, MODELS)])
        with self._one_more():
            return await self._listen(context, params.model_copy(update={"notifications": heeded}))

    def subscribe(self, connection: Connection, uri: str) -> None:
        """Tell a host of the earlier era of updates to a resource, until it has gone."""
        if connection not in self._subscribers:
            subscriber = self._subscribers[connection] = _Subscriber(connection)
            connection.exit_stack.callback(self._forget, connection)
            self._nursery.start_soon(self._serve, subscriber)
        self._subscribers[connection].uris.add(uri)

    def unsubscribe(self, connection: Connection, uri: str) -> None:
        """Tell it no more of this resource."""
        if connection in self._subscribers:
            self._subscribers[connection].drop(uri)

    def _forget(self, connection: Connection) -> None:
        self._subscribers.pop(connection).scope.cancel()

    async def _serve(self, subscriber: _Subscriber) -> None:
        unsubscribe = self._bus.subscribe(subscriber.take)
        with self._one_more(), subscriber.scope:
            await subscriber.tell()
        unsubscribe()

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Watch the daemon for somebody."""
        self._open += 1
        if self._open == 1:
            self._watching = trio.CancelScope()
            self._nursery.start_soon(self._watch, self._watching)
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._watching.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._upstream.follow(_CHANGED, self._take)

    def _take(self, event: JsonObject | None) -> None:
        """Note what has changed; of a daemon that goes (None), everything, once."""
        if event is None and not self._is_there:
            return
        self._is_there = event is not None
        self._changed |= frozenset({STATUS, MODELS}) if event is None else _CHANGED[event["event"]]
        self._news.set()

    async def publish(self) -> None:
        """Tell whoever wants to know of what has changed, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            changed, self._changed = self._changed, set()
            for uri in sorted(changed):
                await self._bus.publish(ResourceUpdated(uri))
            await trio.sleep(_PAUSE_SECONDS)


class _Subscriber:
    """A host of the earlier era: it is told in a task of its own, so that one that does not read stops nobody."""

    def __init__(self, connection: Connection) -> None:
        self.uris: set[str] = set()
        self.scope = trio.CancelScope()
        self._connection = connection
        self._updated: set[str] = set()
        self._news = trio.Event()

    def take(self, event: ServerEvent) -> None:
        """Take notice of an update."""
        if isinstance(event, ResourceUpdated) and event.uri in self.uris:
            self._updated.add(event.uri)
            self._news.set()

    def drop(self, uri: str) -> None:
        """Take no more notice of this resource."""
        self.uris.discard(uri)
        self._updated.discard(uri)

    async def tell(self) -> None:
        """Tell the host of updates, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._updated:
                await self._connection.send_resource_updated(self._updated.pop())
