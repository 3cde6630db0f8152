"""One client: its calls in flight, and how its connection ends. ``Inbox`` has its input, ``Sender`` the output to it.

What arrives is handled at once, on the event loop (net/receiver.py), unless that takes longer: a long line, a batch, or
many lines. These are left to the connection's own task, and nothing more is read meanwhile. Requests run concurrently.
A connection ends in one of three ways:

- the client has sent everything and waits for the answers (``nc -N`` and socat half-close): end of file on reading is
  not a disconnect, so what is in flight is answered first;
- the client is wholly gone (hang-up, EPIPE, ECONNRESET): its waiting calls are dropped and its run is aborted;
- the client does not read: it is dropped when its outbox is full or makes no progress.

A client that speaks another protocol is told what is spoken here, and the connection ends (``wire/foreign.py``).
"""

from __future__ import annotations

import contextlib
import itertools
import socket as stdlib_socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
import trio

from rkllmd.calls.failure import as_error
from rkllmd.errors import RpcError, ShuttingDown
from rkllmd.json_types import Json, JsonObject
from rkllmd.net.inbox import FD_SIZE, Inbox, is_large, takes_long
from rkllmd.net.receiver import SLICE_SECONDS
from rkllmd.net.sender import Sender
from rkllmd.service import dispatch, preparation
from rkllmd.wire import jsonrpc
from rkllmd.wire.budget import Holding
from rkllmd.wire.credentials import credentials_of, groups_of
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors
from rkllmd.wire.members import MAX_FDS, NO_MEMBERS

if TYPE_CHECKING:
    from rkllmd.net.hangup import HangupWatcher
    from rkllmd.net.receiver import Receiver
    from rkllmd.npu.job import Job
    from rkllmd.service.parts import Service

log = structlog.get_logger()

_RECEIVE_BYTES: Final = 65_536
_ANCILLARY_BYTES: Final = stdlib_socket.CMSG_SPACE(MAX_FDS * FD_SIZE)

# Closing a socket with unread bytes gives their sender an error in place of the end of file: so the client has this
# long to close its side first.
_FAREWELL_SECONDS: Final = 1.0

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
        self._failure: Exception | None = None
        self._slow: jsonrpc.Call | None = None  # a call that could not be prepared at once
        self._jobs: dict[jsonrpc.Call, Job] = {}
        self._reading_ended = False
        self._is_ending = False  # the daemon is shutting down
        self._answered = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.heard_at = time.monotonic()

    @property
    def _log(self) -> structlog.typing.FilteringBoundLogger:
        # Bound anew each time: a logger that was bound before a reload of log_level would keep the old level.
        bound: structlog.typing.FilteringBoundLogger = log.bind(client=self.number, **self._peer._asdict())
        return bound

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
        return self._is_ending

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
                async with trio.open_nursery() as self._nursery:
                    try:
                        await self._read()
                        await self._finish()
                        if self._inbox.was_foreign:
                            await self._let_leave()
                    finally:
                        self._sender.stop()  # no writer is started in a nursery that closes
                    self._nursery.cancel_scope.cancel()
        except* (OSError, MemoryError) as errors:
            self._log.debug("client_lost", reason=repr(errors.exceptions[0]))
        except* Exception as errors:
            self._log.error("connection_failed", exc_info=errors.exceptions[0])
        finally:
            self._sender.stop()
            self._service.npu.cancel_client(self)
            self._sender.close()
            self._inbox.close()
            if self._slow is not None:
                self._slow.fds.close()
            self._log.debug("client_gone")

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
            while self.exchange.open_calls or (self._service.events.is_watching(self) and not self._is_ending):
                await self._answered.park()
            await self._sender.wait_until_sent(0)

    async def _let_leave(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_WR)
            with trio.move_on_after(_FAREWELL_SECONDS):
                data = b"unread"
                while data:
                    await trio.lowlevel.wait_readable(self._socket)
                    data = self._socket.recv(_RECEIVE_BYTES)

    def _hung_up(self) -> None:
        self._sender.is_gone = True
        self._scope.cancel()

    def refuse_all(self, error: RpcError) -> None:
        """Answer what is still in flight when the daemon leaves."""
        for call in list(self._jobs):
            self.refuse(call, error)

    def read_no_more(self) -> None:
        """Accept what the client has sent by now and nothing more; close when all of it is answered."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_RD)  # what has arrived can still be read, followed by end of file
        self._answered.unpark_all()

    # -- in ----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read until the end of file, or until no more can be understood. Raises OSError."""
        while not self._inbox.is_over:
            with self._receiver.receiving(self._socket, self._on_readable) as left_alone:
                await left_alone.park()
            if self.is_gone:
                return
            if self._failure is not None:
                raise self._failure
            await self._handle_rest()
            # More lines that have come are handled here: otherwise clients that always send more would queue up in the
            # receiver.
            while self._receives_more():
                await self._handle_rest()
        self._inbox.check_length()

    def _receives_more(self) -> bool:
        if not self._inbox.is_over:
            self._receive()
        self._inbox.check_descriptors()
        return bool(self._inbox.lines)

    def _on_readable(self) -> bool:
        """Handle what has arrived; return false if there is more than can be done at once, which the task then does."""
        if self.is_gone:
            return False
        try:
            self._receive()
            self._handle_some()
            is_done = self._slow is None and not self._inbox.lines and not self._inbox.is_over
            return is_done and self._sender.unsent_bytes <= self._sender.most_unsent
        except Exception as error:  # it must end this connection and no other
            self._failure = error
        return False

    def _receive(self) -> None:
        """Take what has arrived. Raises OSError."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                _RECEIVE_BYTES, _ANCILLARY_BYTES, stdlib_socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        if ancillary or flags & stdlib_socket.MSG_CTRUNC:
            self._inbox.take_descriptors(ancillary, flags)
        if data:
            self._inbox.feed(data)
        else:
            self._inbox.end(is_cut=self._is_ending)

    def _handle_some(self) -> None:
        """Handle the lines that have come, for at most one slice, and only up to the first that takes long."""
        inbox, sender, lines = self._inbox, self._sender, self._inbox.lines
        most, self.heard_at = sender.most_unsent, time.monotonic()
        end = self.heard_at + SLICE_SECONDS
        if len(lines) > 1:
            sender.cork()  # the answers are sent in one piece
        while lines and not takes_long(lines[0]):
            for call in inbox.next_calls():
                self._handle_call(call)
            if self._slow is not None or sender.waiting_bytes > most or time.monotonic() > end:
                break
        sender.uncork()
        inbox.check_descriptors()

    async def _handle_rest(self) -> None:
        """Handle all lines that have come; other clients have their turn in between."""
        inbox, sender = self._inbox, self._sender
        while inbox.lines or self._slow is not None:
            if self._slow is not None:
                await self._handle_apart(self._slow)
            elif not takes_long(inbox.lines[0]):
                self._handle_some()
            elif is_large(inbox.lines[0]):
                await self._handle_large()
            else:
                await self._handle_batch()
            await sender.wait_until_sent(sender.most_unsent)
            await trio.lowlevel.checkpoint()
        inbox.check_descriptors()
        await sender.wait_until_sent(sender.most_unsent)

    def _handle_call(self, call: jsonrpc.Call) -> None:
        try:
            if call.members is not NO_MEMBERS:
                self._inbox.give_descriptors(call)
            prepared = preparation.prepare_at_once(self._service, self, call)
            if prepared is None:
                self._slow = call
            else:
                self._start(call, prepared)
        except Exception as error:  # the call is answered, whatever happened
            dispatch.refuse(self, call, error)

    async def _handle_batch(self) -> None:
        end = time.monotonic() + SLICE_SECONDS
        for call in self._inbox.next_calls():
            self._handle_call(call)
            if self._slow is not None:
                await self._handle_apart(self._slow)
            if time.monotonic() > end:
                # Shielded, so that each member of a batch gets its answer.
                await trio.lowlevel.cancel_shielded_checkpoint()
                end = time.monotonic() + SLICE_SECONDS

    async def _handle_large(self) -> None:
        """Handle one long line, the expensive parts on a helper thread; the client's next line waits for it.

        Only one line of all clients is handled so at a time.
        """
        async with self._service.long_requests.take(self.user):
            message = await trio.to_thread.run_sync(self._inbox.parse_next)
            for call in self._inbox.calls_of(message, None):
                await self._handle_apart(call)

    async def _handle_apart(self, call: jsonrpc.Call) -> None:
        is_known, self._slow = call is self._slow, None
        try:
            if not is_known:
                self._inbox.give_descriptors(call)
            self._start(call, await preparation.prepare_apart(self._service, self, call))
        except Exception as error:  # as above
            dispatch.refuse(self, call, error)

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

    # -- out ---------------------------------------------------------------------------------------------------------

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
