"""What goes to one client: at once if the kernel takes it, else by a writer task, and always in order.

What is ready is sent at once, in one piece: a token must not wait for a task switch, and may be sent from the thread
that it comes on. What the kernel does not take is left to the writer, what comes then waits in the outbox behind it,
and the writer alone sends until all is sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket as stdlib_socket
import struct
import sys
import termios
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from rkllmd.net.outbox import Outbox
from rkllmd.wire import jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.config.current import CurrentConfig

# With this much unread output, no more is read from the client: a pipelining client is slowed down, not dropped.
_OUTBOX_HIGH: Final = 256 * 1024
_INT_SIZE: Final = struct.calcsize("i")


class Sender:
    """Sends lines to a client until it is gone."""

    def __init__(
        self,
        socket: stdlib_socket.socket,
        current: CurrentConfig,
        start_writer: Callable[[], None],
        give_up: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        """``start_writer``, from any thread, has ``write`` run; ``give_up`` drops who reads too slowly, for a reason.

        ``lost`` is called when nobody is there any more.
        """
        self.is_gone = False
        self._socket = socket
        self._current = current
        self._start_writer = start_writer
        self._give_up = give_up
        self._lost = lost
        self._outbox = Outbox()
        self._is_corked = False
        self._is_writing = False
        # Held while something is sent outside the writer, and while the socket is closed: never for longer than a
        # system call that does not block.
        self._lock = threading.Lock()
        self._writable = trio.lowlevel.ParkingLot()

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes the client has not received yet."""
        return self._outbox.unsent_bytes

    @property
    def waiting_bytes(self) -> int:
        """Return how many of them are not on their way yet."""
        return self._outbox.waiting_bytes

    @property
    def most_unsent(self) -> int:
        """Return with how many unsent bytes more is still read from the client."""
        return min(_OUTBOX_HIGH, self._current.config.outbox_bytes // 2)

    async def wait_for_room(self, most: int) -> None:
        """Wait until the client has taken all but ``most`` bytes."""
        while self._outbox.unsent_bytes > most:
            await self._writable.park()

    def cork(self) -> None:
        """Keep what comes, and send it in one piece at ``uncork``; a client's other streams wait meanwhile."""
        self._is_corked = True

    def uncork(self) -> None:
        """Send what was kept."""
        if self._is_corked:
            self._is_corked = False
            self._flush()

    def send(self, line: jsonrpc.Line, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Send a line with descriptors, which are the sender's from now on; drop a client that does not read."""
        if not line or self.is_gone:
            fds.close()
            return
        config, outbox = self._current.config, self._outbox
        # Tensors that nobody takes are memory as well.
        if outbox.is_full(config.outbox_bytes) or outbox.waiting_shared_bytes >= config.max_memory_bytes:
            fds.close()
            self._give_up("slow_reader")
            return
        if not self._is_corked and fds is NO_DESCRIPTORS and isinstance(line, bytes):
            with self._lock:
                if self._send_whole(line):
                    return
        outbox.add(line, fds)
        if not self._is_corked:
            self._flush()

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[dict[str, Any]], bool]:
        """Return what sends one partial result from any thread, if nothing waits before it and the kernel takes it.

        It is false if the partial result was not sent. It has all that it needs at hand, for a slow token comes when
        everything has been forgotten by the processor's caches, and pays for each step.
        """
        encode = jsonrpc.partial_encoder(call.id, as_notifications=as_notifications)
        lock = self._lock

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

    async def write(self) -> None:
        """Send what the kernel did not take at once."""
        while self._outbox:
            unread = _unread_bytes(self._socket)
            with trio.move_on_after(self._current.config.outbox_seconds) as patience:
                await trio.lowlevel.wait_writable(self._socket)
            if patience.cancelled_caught:
                # A socket can be written to when three quarters of it are free, which takes a slow reader longer.
                if _unread_bytes(self._socket) < unread:
                    continue
                self._give_up("slow_reader")
                return
            with contextlib.suppress(BlockingIOError):
                self._outbox.send(self._socket)
            self._writable.unpark_all()
        self._is_writing = False

    def stop(self) -> None:
        """Send nothing more: the client is gone. Who waits for room goes on."""
        self.is_gone = True
        self._writable.unpark_all()

    def close(self) -> None:
        """Close the socket, and what was to be sent through it."""
        with self._lock:
            self._socket.close()
        # Megabytes, perhaps; this object itself may wait long for the garbage collector.
        self._outbox.clear()

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
        with self._lock:
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
                self._lost()

    def _leave_to_writer(self) -> None:
        self._is_writing = True
        self._start_writer()


def _unread_bytes(socket: stdlib_socket.socket) -> int:
    """Return what the kernel holds for the peer (SIOCOUTQ); a piece that was read in part counts whole."""
    return int.from_bytes(fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(_INT_SIZE)), sys.byteorder)
