"""One client: its calls in flight, and how its connection ends. ``Reader`` reads from it, ``Sender`` sends to it.

Its requests run concurrently. A connection ends in one of three ways:

- the client has sent everything and waits for the answers (``nc -N`` and socat half-close): end of file on reading is
  not a disconnect, so what is in flight is answered first;
- the client is wholly gone (hang-up, EPIPE, ECONNRESET): its waiting calls are dropped and its run is aborted;
- the client does not read: it is dropped when its outbox is full or makes no progress.

A client that speaks another protocol is told what is spoken here, and the connection ends (``wire/foreign.py``).
"""

from __future__ import annotations

import itertools
import socket as stdlib_socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from rkllmd.calls.failure import as_error
from rkllmd.errors import RpcError, ShuttingDown
from rkllmd.json_types import Json, JsonObject
from rkllmd.net.inbox import Inbox
from rkllmd.net.reader import Reader
from rkllmd.net.sender import Sender
from rkllmd.service import dispatch, preparation
from rkllmd.wire import jsonrpc
from rkllmd.wire.budget import Holding
from rkllmd.wire.credentials import credentials_of, groups_of
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.net.hangup import HangupWatcher
    from rkllmd.net.receiver import Receiver
    from rkllmd.npu.job import Job
    from rkllmd.service.parts import Service

log = structlog.get_logger()

_numbers = itertools.count(1)


class Connection:
    """A connected client."""

    def __init__(
        self, socket: stdlib_socket.socket, service: Service, hangups: HangupWatcher, receiver: Receiver
    ) -> None:
        """Take over a connected, non-blocking Unix stream socket."""
        self.number = next(_numbers)
        self.exchange = jsonrpc.Exchange()
        self._socket, self._service = socket, service
        self._hangups, self._receiver = hangups, receiver
        self._peer = credentials_of(socket)
        self.user: int | None = self._peer.uid
        self.groups = groups_of(socket, self._peer)
        self.pid: int | None = self._peer.pid
        unread = Holding(service.budget, self.user)
        self._sender = Sender(socket, service.current, self._call_writer, self.drop, self._hung_up, unread)
        self._inbox = Inbox(
            service.config.max_line_bytes,
            self.exchange,
            self._sender.send,
            lambda: self._log,
            service.budget,
            self.user,
        )
        self._reader = Reader(socket, service, self, self._inbox, self._sender, self._start)
        self._jobs: dict[jsonrpc.Call, Job] = {}
        self._reading_ended = False
        self._answered = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None

    @property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        # Bound anew each time: a logger that was bound before a reload of log_level would keep the old level.
        bound: structlog.typing.FilteringBoundLogger = log.bind(client=self.number, **self._peer._asdict())
        return bound

    @property
    def heard_at(self) -> float:
        """Return when the client last sent something, or connected; monotonic seconds."""
        return self._reader.heard_at

    @property
    def is_gone(self) -> bool:
        """Return whether nothing can reach the client any more."""
        return self._sender.is_gone

    @property
    def descriptor(self) -> int:
        """Return the number of the socket."""
        return self._socket.fileno()

    @property
    def is_leaving(self) -> bool:
        """Return whether nothing more is read from the client."""
        return self._reader.is_cut

    def is_waiting(self) -> bool:
        """Return whether the client has anything open: a call, an answer, a subscription, or an object that it owns."""
        return bool(
            self.exchange.open_calls
            or self._inbox.lines
            or self._sender.unsent_bytes
            or self._service.events.is_watching(self)
            or self._service.belongs_anything_to(self.number)
        )

    def describe(self) -> str:
        """Return a description of the client, for the log and server.queue."""
        return f"client {self.number} (pid {self._peer.pid}, uid {self._peer.uid})"

    # -- the connection's life ---------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve the client until it has left or was dropped. Raises nothing but Cancelled."""
        self._log.debug("client_connected")
        try:
            with self._scope:
                await self._converse()
        except* (OSError, MemoryError) as errors:
            self._log.debug("client_lost", reason=repr(errors.exceptions[0]))
        except* Exception as errors:
            self._log.error("connection_failed", exc_info=errors.exceptions[0])
        finally:
            self._sender.stop()
            self._service.npu.cancel_client(self)
            self._sender.close()
            self._reader.close()
            self._log.debug("client_gone")

    async def _converse(self) -> None:
        """Read all that the client sends, and see its answers off. Raises what reading raises, in a group."""
        async with trio.open_nursery() as self._nursery:
            try:
                await self._reader.read(self._receiver)
                await self._finish()
                if self._inbox.was_foreign:
                    await self._reader.read_away()
            finally:
                self._sender.stop()  # no writer is started in a nursery that closes
            self._nursery.cancel_scope.cancel()

    def drop(self, reason: str) -> None:
        """Drop the client at once, for a ``reason`` that is logged; its run is aborted."""
        if not self.is_gone:
            self._sender.is_gone = True
            self._log.warning(reason, unread_bytes=self._sender.unsent_bytes)
            self._scope.cancel()

    async def _finish(self) -> None:
        """After the last request, answer what is in flight and send it all, unless the client hangs up meanwhile."""
        self._reading_ended = True
        with self._hangups.watch(self._socket, self._hung_up):
            # A client that watches events gets them until it hangs up or the daemon shuts down.
            while self.exchange.open_calls or (self._service.events.is_watching(self) and not self._reader.is_cut):
                await self._answered.park()
            await self._sender.wait_until_sent(0)

    def _hung_up(self) -> None:
        self._sender.is_gone = True
        self._scope.cancel()

    def refuse_all(self, error: RpcError) -> None:
        """Answer what is still in flight when the daemon leaves."""
        for call in list(self._jobs):
            self.refuse(call, error)

    def read_no_more(self) -> None:
        """Accept what the client has sent by now and nothing more; close when all of it is answered."""
        self._reader.cut()
        self._answered.unpark_all()

    # -- calls ------------------------------------------------------------------------------------------------------

    def _start(self, call: jsonrpc.Call, prepared: preparation.Prepared) -> None:
        if self._service.npu.closing:
            raise ShuttingDown("The daemon is shutting down.")
        job = dispatch.start(self._service, self, call, prepared)
        if job is not None and not call.finished:
            self._jobs[call] = job

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        """Return the queued or running job of the request with this id."""
        call = self.exchange.find(call_id)
        return None if call is None else self._jobs.get(call)

    def answer(self, call: jsonrpc.Call, result: Json, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Send the call's result, unless the call was answered while its work went on; ``fds`` are closed then."""
        if call.finished:
            fds.close()
            call.fds.close()
            return
        try:
            line = self.exchange.finish(call, result, len(fds))
        except Exception as error:  # there is no memory for it
            fds.close()
            self.refuse(call, as_error(error, call.method))
        else:
            self._service.count_call(call.method, "ok")
            self._answer(call, line, fds)

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Send the call's error, unless the call was answered while its work went on."""
        if call.finished:
            call.fds.close()
            return
        self._service.count_call(call.method, error.kind)
        try:
            self._answer(call, self.exchange.fail(call, error))
        except Exception:  # nor for the error: better no connection than a client that waits for ever
            self.drop("answer_lost")

    def send_partials(self, call: jsonrpc.Call, partials: list[JsonObject], *, as_notifications: bool) -> None:
        """Send partial results of ``call``, unless it was answered while its work went on, or is a notification."""
        if call.is_notification or call.finished or self.is_gone:
            return
        encode = jsonrpc.partial_encoder(call.id, as_notifications=as_notifications)
        self._sender.send(b"".join([encode(partial) for partial in partials]))

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[JsonObject], bool]:
        """Return a function that sends one partial result from any thread (``Sender.partial_sender``)."""
        if call.is_notification:
            return lambda _: True
        return self._sender.partial_sender(call, as_notifications=as_notifications)

    def notify(self, line: bytes) -> None:
        """Send a notification that belongs to no call."""
        self._sender.send(line)

    def _answer(self, call: jsonrpc.Call, line: jsonrpc.Line, fds: Descriptors = NO_DESCRIPTORS) -> None:
        self._jobs.pop(call, None)
        call.fds.close()
        if call.holding is not None:
            self._inbox.let_go(call)
        if call.batch is not None:
            self._sender.count_beside(self.exchange.waiting_bytes)
        try:
            self._sender.send(line, fds)
        except Exception:  # there is no memory for it
            self.drop("answer_lost")
        if self._reading_ended:
            self._answered.unpark_all()

    def _call_writer(self) -> None:
        self._service.run_soon(self._start_writer)

    def _start_writer(self) -> None:
        if self._nursery is not None and not self.is_gone:
            self._nursery.start_soon(self._sender.write)
