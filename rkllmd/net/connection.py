"""One client: lines in, lines out, what it has in flight, and how it goes.

What arrives is handled at once, on the event loop (net/receiver.py), unless that takes longer: a long line, a batch,
many lines. These are left to the connection's task, and nothing more is read meanwhile. What is ready is sent at once,
in one piece, if the kernel takes it: a token must not wait for a task switch, and may be sent from the thread that it
comes on. What the kernel does not take is left to a writer task, what comes then waits in the outbox behind it, and the
writer alone sends until all is sent. Requests run concurrently. Three ways to leave:

- end of file on reading is not a disconnect (``nc -N`` and socat half-close): what is in flight is answered first;
- a client that is wholly gone (hang-up, EPIPE, ECONNRESET) has its waiting calls dropped and its run aborted;
- a client that does not read is dropped when its outbox is full or makes no progress.

Who speaks another protocol is told so and left (``wire/foreign.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket as stdlib_socket
import struct
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio

from rkllmd import open_files
from rkllmd.errors import FrameTooLarge, InvalidParams, InvalidRequest, RpcError, ShuttingDown
from rkllmd.net.outbox import Outbox
from rkllmd.net.receiver import SLICE_SECONDS
from rkllmd.service import dispatch, preparation
from rkllmd.wire import foreign, jsonrpc
from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import LongBytes
from rkllmd.wire.members import MAX_FDS, NO_MEMBERS

if TYPE_CHECKING:
    from rkllmd.net.hangup import HangupWatcher
    from rkllmd.net.receiver import Receiver
    from rkllmd.npu.job import Job
    from rkllmd.service.parts import Service

log = structlog.get_logger()

_RECEIVE_BYTES: Final = 65_536
# Parsing and converting this much takes about a millisecond: more goes to a helper thread.
_LARGE_LINE: Final = 65_536
# A line that begins with a blank, which nearly nobody sends, may be one.
_BEGINS_BATCH: Final = b"[ \t\r\n\v\f"
# With this much unread output, no more is read from the client: a pipelining client is slowed down, not dropped.
_OUTBOX_HIGH: Final = 256 * 1024

# For a line that is not complete, or a batch.
_MAX_WAITING_FDS: Final = 64
_INT_SIZE: Final = struct.calcsize("i")
_FD_SIZE: Final = _INT_SIZE
_ANCILLARY_BYTES: Final = stdlib_socket.CMSG_SPACE(MAX_FDS * _FD_SIZE)

# Closing upon unread bytes would give their sender an error in the place of the end: it has this long to go first.
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
        self.is_gone = False
        self._socket = socket
        self._service = service
        self._hangups = hangups
        self._receiver = receiver
        self._buffer = LineBuffer(service.config.max_line_bytes)
        self._lines: deque[LongBytes] = deque()  # what has come and is not handled yet
        self._is_last = False  # nothing more is read: the end of file, or what can't be understood
        self._strangers = foreign.Strangers()
        self._is_new = True  # nothing has come yet
        self._was_foreign = False
        self._failure: Exception | None = None
        self._jobs: dict[jsonrpc.Call, Job] = {}
        # File descriptors that have come and are not yet given to a call, and whether nobody knows any more to which.
        self._fds: deque[int] = deque()
        self._fds_are_lost = False
        self._outbox = Outbox()
        self._is_corked = False
        self._is_writing = False
        # Held while something is sent outside the writer, and while the socket is closed: never for longer than a
        # system call that does not block.
        self._send_lock = threading.Lock()
        self._reading_ended = False
        self._is_ending = False  # the daemon leaves
        self._answered = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._peer = _peer_credentials(socket)
        self.user: int | None = self._peer["uid"]

    @property
    def _log(self) -> Any:
        # Bound anew each time: a logger that was bound before a reload of log_level would keep the old level.
        return log.bind(client=self.number, **self._peer)

    def describe(self) -> str:
        """Return who it is, for the log and server.queue."""
        return f"client {self.number} (pid {self._peer['pid']}, uid {self._peer['uid']})"

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
                        if self._was_foreign:
                            await self._let_leave()
                    finally:
                        self.is_gone = True  # no writer is started in a nursery that closes
                    self._nursery.cancel_scope.cancel()
        except* OSError as errors:
            self._log.debug("client_lost", reason=str(errors.exceptions[0]))
        except* Exception as errors:
            self._log.error("connection_failed", exc_info=errors.exceptions[0])
        finally:
            self.is_gone = True
            self._writable.unpark_all()
            self._service.npu.cancel_client(self)
            with self._send_lock:
                self._socket.close()
            # Megabytes, perhaps; this object itself may wait long for the garbage collector.
            self._outbox.clear()
            self._close_fds()
            self._log.debug("client_gone")

    def drop(self, reason: str) -> None:
        """Give the client up at once; its run is aborted."""
        if not self.is_gone:
            self.is_gone = True
            self._log.warning(reason, unread_bytes=self._outbox.unsent_bytes)
            self._scope.cancel()

    async def _finish(self) -> None:
        """After the last request: answer what is in flight, send it all, unless the client goes meanwhile."""
        self._reading_ended = True
        with self._hangups.watch(self._socket, self._hung_up):
            # A watcher is never done: it is told until it hangs up, or the daemon leaves.
            while self.exchange.open_calls or (self._service.events.is_watching(self) and not self._is_ending):
                await self._answered.park()
            await self._wait_for_room(0)

    def _say_farewell(self, farewell: foreign.Farewell) -> None:
        """Tell who speaks another protocol what is spoken here; nothing that it sends is a request."""
        if not self._was_foreign:
            self._was_foreign = self._is_last = True
            self._lines.clear()
            self._log.info("foreign_protocol", protocol=farewell.protocol)
            self._send(farewell.reply)

    async def _let_leave(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_WR)
            with trio.move_on_after(_FAREWELL_SECONDS):
                data = b"unread"
                while data:
                    await trio.lowlevel.wait_readable(self._socket)
                    data = self._socket.recv(_RECEIVE_BYTES)

    def _hung_up(self) -> None:
        self.is_gone = True
        self._scope.cancel()

    def refuse_all(self) -> None:
        """Answer what is still in flight when the daemon leaves."""
        for call in list(self._jobs):
            self.refuse(call, ShuttingDown("The daemon is shutting down; the call had not ended."))

    def read_no_more(self) -> None:
        """Take what the client has sent by now and nothing after it; close when all of that is answered."""
        self._is_ending = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_RD)  # what has arrived can still be read, and then comes the end
        self._answered.unpark_all()

    # -- in ----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read until the end of file, or until no more can be understood. Raises OSError."""
        while not self._is_last:
            with self._receiver.receiving(self._socket, self._on_readable) as left_alone:
                await left_alone.park()
            if self.is_gone:
                return
            if self._failure is not None:
                raise self._failure
            await self._handle_rest()
            # Here as long as more lines have come: the receiver would have a queue of those who always have more.
            while self._receives_more():
                await self._handle_rest()
        if self._buffer.overflowed:
            limit = self._buffer.limit
            self._log.warning("frame_too_large", limit=limit)
            self._send(jsonrpc.error_line(FrameTooLarge(f"A line has at most {limit} bytes.", limit=limit)))

    def _receives_more(self) -> bool:
        if not self._is_last:
            self._receive()
        if not self._lines:
            self._check_fds()
        return bool(self._lines)

    def _on_readable(self) -> bool:
        """Handle what has arrived; false if there is more to do than can be done at once: the task does it."""
        if self.is_gone:
            return False
        try:
            self._receive()
            self._handle_some()
            if not self._lines and not self._is_last and self._outbox.unsent_bytes <= self._most_unsent:
                return True
        except Exception as error:  # the connection's, and nobody else's
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
            self._take_fds(ancillary, flags)
        if data:
            if self._is_new:
                self._is_new = False
                farewell = foreign.greeting_of(data)
                if farewell is not None:
                    self._say_farewell(farewell)
                    return
            self._lines.extend(self._buffer.feed(data))
        elif not self._is_ending:  # else it is the daemon that has cut the last line
            self._lines.extend(self._buffer.end())
        self._is_last = self._is_last or not data or self._buffer.overflowed

    def _take_fds(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        """Queue descriptors as they come: always before the last byte of the message that declares them."""
        came = 0
        for level, kind, data in ancillary:
            if (level, kind) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SCM_RIGHTS):
                came += len(data) // _FD_SIZE
                self._fds.extend(fd for (fd,) in struct.iter_unpack("i", data[: len(data) - len(data) % _FD_SIZE]))
        if flags & stdlib_socket.MSG_CTRUNC and came < MAX_FDS:  # there was room for more, but not in our table
            self._lose_fds(f"File descriptors came that could not be taken. {open_files.sentence()}")
        elif flags & stdlib_socket.MSG_CTRUNC or len(self._fds) > _MAX_WAITING_FDS:
            self._lose_fds(f"A message brings at most {MAX_FDS} file descriptors, and {_MAX_WAITING_FDS} may wait.")

    def _lose_fds(self, why: str) -> None:
        """Nobody knows any more which descriptor belongs to which message: take none, and no more messages."""
        self._close_fds()
        if not self._fds_are_lost:
            self._fds_are_lost = self._is_last = True
            self._log.warning("file_descriptors_lost", reason=why)
            self._send(jsonrpc.error_line(InvalidRequest(f"{why} The connection is closed.", limit=MAX_FDS)))

    def _give_fds(self, call: jsonrpc.Call) -> None:
        """Give a call the descriptors that it declares, the ones that came first. Raises InvalidParams."""
        call.members.check("fds")
        count = call.members.fds
        if count > len(self._fds):
            raise InvalidParams(
                f"The request declares {count} file descriptors, {len(self._fds)} came with it.",
                member="fds",
                keyword="maximum",
                limit=len(self._fds),
            )
        call.fds = [self._fds.popleft() for _ in range(count)]

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.popleft())

    @property
    def _most_unsent(self) -> int:
        return min(_OUTBOX_HIGH, self._service.config.outbox_bytes // 2)

    def _handle_some(self) -> None:
        """Handle the lines that have come, up to one for the task, and for no longer than a slice."""
        lines, most = self._lines, self._most_unsent
        end = time.monotonic() + SLICE_SECONDS
        self._is_corked = len(lines) > 1  # what is answered here is sent in one piece
        while lines and not _is_for_task(lines[0]):
            line = lines.popleft()
            for call in self._receive_message(jsonrpc.parse(line), line):
                self._handle_call(call)
            if self._outbox.waiting_bytes > most or time.monotonic() > end:
                break
        if self._is_corked:
            self._uncork()
        self._check_fds()

    async def _handle_rest(self) -> None:
        """Handle all lines that have come; others have their turn in between."""
        while self._lines:
            if not _is_for_task(self._lines[0]):
                self._handle_some()
            elif len(self._lines[0]) > _LARGE_LINE:
                await self._handle_large()
            else:
                await self._handle_batch()
            await self._wait_for_room(self._most_unsent)
            await trio.lowlevel.checkpoint()
        self._check_fds()
        await self._wait_for_room(self._most_unsent)

    def _check_fds(self) -> None:
        """Make sure that nobody's descriptors are left; those of a line that is still coming may wait for it."""
        if self._fds and not self._lines and not len(self._buffer):
            self._lose_fds("File descriptors came that no message declares in its member fds.")

    async def _wait_for_room(self, most: int) -> None:
        """Wait until the client has taken all but ``most`` bytes; no more is read from it meanwhile."""
        while self._outbox.unsent_bytes > most:
            await self._writable.park()

    def _uncork(self) -> None:
        """Send what is there; also before waiting in the middle, for the client's streams go on meanwhile."""
        self._is_corked = False
        self._flush()

    def _handle_call(self, call: jsonrpc.Call) -> None:
        try:
            if call.members is not NO_MEMBERS:
                self._give_fds(call)
            self._start(call, preparation.prepare(self._service, self, call))
        except Exception as error:  # the call is answered, whatever happened
            dispatch.refuse(self, call, error)

    async def _handle_batch(self) -> None:
        end = time.monotonic() + SLICE_SECONDS
        line = self._lines.popleft()
        for call in self._receive_message(jsonrpc.parse(line), line):
            self._handle_call(call)
            if time.monotonic() > end:
                await trio.lowlevel.cancel_shielded_checkpoint()  # shielded: each member of a batch gets its answer
                end = time.monotonic() + SLICE_SECONDS

    async def _handle_large(self) -> None:
        """Handle one line with its heavy parts on a helper thread; the client's next line waits for it."""
        message = await trio.to_thread.run_sync(_parse_first, self._lines)
        for call in self._receive_message(message, None):
            try:
                self._give_fds(call)
                # Shielded: only a call that is answered closes its descriptors, even if the client has left meanwhile.
                with trio.CancelScope(shield=True):
                    prepared = await trio.to_thread.run_sync(preparation.prepare, self._service, self, call)
                self._start(call, prepared)
            except Exception as error:  # as above
                dispatch.refuse(self, call, error)

    def _receive_message(
        self, message: jsonrpc.Message | list[jsonrpc.Message], line: LongBytes | None
    ) -> list[jsonrpc.Call]:
        """Return the calls of a message; what is none is answered. ``line`` is what it was, None for a long one."""
        if self._strangers.is_inside or isinstance(message, jsonrpc.Rejected):
            seen = self._strangers.look_at(line, message)
            if isinstance(seen, foreign.Farewell):
                self._say_farewell(seen)
                return []
            message = seen
        calls, reply = self.exchange.receive(message)
        if reply:
            self._send(reply)
        elif not calls and isinstance(message, jsonrpc.Unsolicited):
            self._log.debug("unsolicited_response")  # at a higher level a client could fill the log
        if self._fds and len(calls) != (len(message) if isinstance(message, list) else 1):
            self._lose_fds("File descriptors came, and a message that may have declared them can't be read.")
        return calls

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

    def answer(self, call: jsonrpc.Call, result: Any, fds: Sequence[int] = ()) -> None:
        """Send the call's result, unless the call was answered while its work went on; ``fds`` are closed."""
        if call.finished:
            _close(fds)
            _close_given(call)
        else:
            self._answer(call, self.exchange.finish(call, result, len(fds)), fds)

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Send the call's error, with the same exception."""
        if call.finished:
            _close_given(call)
        else:
            self._answer(call, self.exchange.fail(call, error))

    def send_partials(self, call: jsonrpc.Call, partials: list[dict[str, Any]], *, as_notifications: bool) -> None:
        """Send partial results of ``call``, unless it is answered already, while its work goes on.

        A notification has nobody to send them to.
        """
        if call.is_notification or call.finished or self.is_gone:
            return
        encode = jsonrpc.partial_encoder(call.id, as_notifications=as_notifications)
        self._send(b"".join([encode(partial) for partial in partials]))

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[dict[str, Any]], bool]:
        """Return what sends one partial result from any thread, if nothing waits before it and the kernel takes it.

        It is false if the partial result was not sent. It has all that it needs at hand, for a slow token comes when
        everything has been forgotten by the processor's caches, and pays for each step.
        """
        if call.is_notification:
            return lambda _: True
        encode = jsonrpc.partial_encoder(call.id, as_notifications=as_notifications)
        lock = self._send_lock

        def send_now(partial: dict[str, Any]) -> bool:
            line = encode(partial)
            if not lock.acquire(False):  # the event loop is sending: the token goes the long way
                return False
            try:
                # A call that is finished has been given up by the event loop meanwhile.
                return call.finished or (not self._is_corked and self._send_whole(line))
            finally:
                lock.release()

        return send_now

    def notify(self, line: bytes) -> None:
        """Send a notification that belongs to no call."""
        self._send(line)

    def _answer(self, call: jsonrpc.Call, line: jsonrpc.Line, fds: Sequence[int] = ()) -> None:
        self._jobs.pop(call, None)
        _close_given(call)
        self._send(line, fds)
        if self._reading_ended:
            self._answered.unpark_all()

    def _send(self, line: jsonrpc.Line, fds: Sequence[int] = ()) -> None:
        if not line or self.is_gone:
            _close(fds)
            return
        config, outbox = self._service.config, self._outbox
        # Tensors that nobody takes are memory as well.
        if outbox.is_full(config.outbox_bytes) or outbox.waiting_shared_bytes >= config.max_memory_bytes:
            _close(fds)
            self.drop("slow_reader")
            return
        if not self._is_corked and not fds and isinstance(line, bytes):
            with self._send_lock:
                if self._send_whole(line):
                    return
        outbox.add(line, fds)
        if not self._is_corked:
            self._flush()

    def _send_whole(self, line: bytes) -> bool:
        """Send a line, with the lock held and nothing waiting; false if the kernel takes none of it."""
        if self._is_writing or self.is_gone:
            return False
        try:
            sent = self._socket.send(line)
        except OSError:  # it would block; or the client is gone, which the event loop finds out by itself
            return False
        if sent < len(line):
            self._outbox.begin(memoryview(line)[sent:])
            self._leave_to_writer()
        return True

    def _flush(self) -> None:
        """Send the outbox as far as the kernel takes it at once; leave the rest to the writer."""
        with self._send_lock:
            if self._is_writing or self.is_gone:
                return
            try:
                while self._outbox:
                    if not self._outbox.send(self._socket):
                        self._leave_to_writer()
                        return
            except BlockingIOError:
                self._leave_to_writer()
            except OSError:  # EPIPE, ECONNRESET: nobody will read the answers
                self._hung_up()

    def _leave_to_writer(self) -> None:
        self._is_writing = True
        self._service.run_soon(self._start_writer)

    def _start_writer(self) -> None:
        if self._nursery is not None and not self.is_gone:
            self._nursery.start_soon(self._write)

    async def _write(self) -> None:
        """Send what the kernel did not take at once."""
        while self._outbox:
            unread = _unread_bytes(self._socket)
            with trio.move_on_after(self._service.config.outbox_seconds) as patience:
                await trio.lowlevel.wait_writable(self._socket)
            if patience.cancelled_caught:
                # A socket can be written to when three quarters of it are free, which takes a slow reader longer.
                if _unread_bytes(self._socket) < unread:
                    continue
                self.drop("slow_reader")
                return
            with contextlib.suppress(BlockingIOError):
                self._outbox.send(self._socket)
            self._writable.unpark_all()
        self._is_writing = False


def _peer_credentials(socket: stdlib_socket.socket) -> dict[str, int]:
    """Return pid, uid and gid of the process that connected (SO_PEERCRED, unix(7))."""
    raw = socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return {"pid": pid, "uid": uid, "gid": gid}


def _unread_bytes(socket: stdlib_socket.socket) -> int:
    """Return what the kernel holds for the peer (SIOCOUTQ); a piece that was read in part counts whole."""
    return int.from_bytes(fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(_INT_SIZE)), sys.byteorder)


def _is_for_task(line: LongBytes) -> bool:
    """Tell whether a line may take more than a slice: a long one, or what may be a batch."""
    return len(line) > _LARGE_LINE or line[0] in _BEGINS_BATCH


def _parse_first(lines: deque[LongBytes]) -> jsonrpc.Message | list[jsonrpc.Message]:
    """Parse the first line on a helper thread and give its memory back there too: megabytes take over a millisecond."""
    return jsonrpc.parse(lines.popleft())


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _close_given(call: jsonrpc.Call) -> None:
    """Close the descriptors that came with a call, unless its work may still read them."""
    if call.fds and not call.in_use:
        _close(call.fds)
        call.fds = []
