"""All who are connected: who may be, what goes with one who leaves, and what the last ones are told."""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
import time
from collections.abc import Callable

import structlog
import trio

from rkllmd.errors import QueueFull, RpcError
from rkllmd.language import conversations
from rkllmd.net import admission
from rkllmd.net.connection import Connection
from rkllmd.net.hangup import Attendance, HangupWatcher
from rkllmd.net.listening import accepting
from rkllmd.net.listening.listener import Listener
from rkllmd.net.receiver import Receiver
from rkllmd.service.parts import Service
from rkllmd.vision.release import release_client
from rkllmd.wire import jsonrpc
from rkllmd.wire.credentials import credentials_of

log = structlog.get_logger()


class Clients:
    """The connections, each with a task of its own."""

    def __init__(self, service: Service, receiver: Receiver) -> None:
        """``receiver`` receives for all of them."""
        self._service = service
        self._receiver = receiver
        self._hangups = HangupWatcher()
        self._attendance = Attendance()
        self._accepting = trio.CancelScope()
        self._connections: set[Connection] = set()
        self._client_left = trio.lowlevel.ParkingLot()

    async def run(self, listening: Listener) -> None:
        """Accept and serve clients, until cancelled."""
        async with trio.open_nursery() as nursery:  # the tasks of connections outlive the end of accepting
            nursery.start_soon(self._hangups.run)
            nursery.start_soon(self._receiver.run)
            with self._accepting:
                await self._accept(listening, lambda socket: nursery.start_soon(self._serve, socket))

    def accept_no_more(self) -> None:
        """Leave those who connect from now on to whoever has the socket next."""
        self._accepting.cancel()

    async def answer_all(self, error: RpcError, seconds: float) -> None:
        """Answer what is in flight with this error, hang up when all is sent; wait ``seconds`` for it at the most."""
        for connection in list(self._connections):
            connection.refuse_all(error)
            connection.read_no_more()
        with trio.move_on_after(seconds):
            while self._connections:
                await self._client_left.park()

    async def _accept(self, listening: Listener, serve: Callable[[stdlib_socket.socket], None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepting.keep_bound, listening, serve)
            await accepting.accept(listening, serve, self._service.config.max_connections)

    async def _serve(self, socket: stdlib_socket.socket) -> None:
        """Serve one that has connected, until it has left or was dropped; refuse it if it is one too many."""
        peer = credentials_of(socket)
        try:
            self._admit(peer.uid)
        except QueueFull as error:
            with socket, contextlib.suppress(OSError):
                socket.send(jsonrpc.error_line(error))
            log.warning("too_many_connections", **peer._asdict(), **error.data)
            return
        self._attendance.add(socket)
        connection = Connection(socket, self._service, self._hangups, self._receiver)
        self._connections.add(connection)
        self._service.clients[connection.number] = connection
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._client_left.unpark_all()
            self._forget(connection.number)

    def _admit(self, user: int) -> None:
        """Drop an idle client if another one would be too many. Raises QueueFull."""
        rules = admission.rules(self._service.config)
        if admission.has_room(len(self._connections), rules):
            return
        gone = self._attendance.gone()
        guests = [guest for guest in self._connections if not guest.is_leaving and guest.descriptor not in gone]
        leaving = admission.admit(user, guests, rules, time.monotonic())
        if leaving is not None:
            log.info("idle_client_dropped", client=leaving.number, uid=leaving.user)
            leaving.read_no_more()

    def _forget(self, client: int) -> None:
        service = self._service
        del service.clients[client]
        service.events.forget(client)
        release_client(service.vision, client)
        conversations.forget_client(service.language, client)
