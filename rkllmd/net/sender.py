"""What goes to one client: sent at once if the kernel takes it, otherwise by a writer task, and always in order.

What is ready is sent at once, in one piece: a token must not wait for a task switch, and may be sent from the thread on
which it comes. What the kernel does not take is left to the writer; what comes later waits behind it in the outbox, and
only the writer sends until the outbox is empty.
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
from typing import TYPE_CHECKING, Final

import trio

from rkllmd.errors import RpcError
from rkllmd.json_types import JsonObject
from rkllmd.net.outbox import Outbox
from rkllmd.wire import closing, jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.config.current import CurrentConfig
    from rkllmd.wire.budget import Holding

# With this many unsent bytes, nothing more is read from the client: one that pipelines is slowed down, not dropped.
_OUTBOX_HIGH: Final = 256 * 1024
# This many bytes of each connection do not count: nearly always there are none.
_UNCOUNTED: Final = 65_536
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
        holding: Holding,
    ) -> None:
        """``start_writer`` starts ``write`` as a task, from any thread.

        ``give_up`` is called with a reason if the client reads too slowly, ``lost`` if it is gone. ``holding``: what
        waits for it takes of the user's memory.
        """
        self.is_gone = False
        self._socket = socket
        self._current = current
        self._start_writer = start_writer
        self._give_up = give_up
        self._lost = lost
        self._holding = holding
        self._beside_bytes = 0
        self._outbox = Outbox()
        self._is_corked = False
        self._is_writing = False
        # Held while anything but the writer sends, and while the socket is closed: never for longer than one system
        # call, which does not block.
        self._lock = threading.Lock()
        self._writable = trio.lowlevel.ParkingLot()

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes the client has not received yet."""
        return self._outbox.unsent_bytes

    @property
    def waiting_bytes(self) -> int:
        """Return how many of these bytes wait in lines that are not being sent yet."""
        return self._outbox.waiting_bytes

    @property
    def most_unsent(self) -> int:
        """Return up to how many unsent bytes more is read from the client."""
        return min(_OUTBOX_HIGH, self._current.config.outbox_bytes // 2)

    async def wait_until_sent(self, most: int) -> None:
        """Wait until all but ``most`` bytes are sent, or the client is gone."""
        while self._outbox.unsent_bytes > most:
            await self._writable.park()

    def cork(self) -> None:
        """Collect what comes, and send it in one piece at ``uncork``; the client's streams wait meanwhile."""
        self._is_corked = True

    def uncork(self) -> None:
        """Send what was collected."""
        if self._is_corked:
            self._is_corked = False
            self._flush()
            self._count()

    def send(self, line: jsonrpc.Line, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Send a line with descriptors, which the sender owns from now on; drop the client if it does not read."""
        if not line or self.is_gone:
            fds.close()
            return
        config, outbox = self._current.config, self._outbox
        # Tensors in descriptors that wait take memory as well.
        if outbox.is_full(config.outbox_bytes) or outbox.waiting_shared_bytes >= config.max_memory_bytes:
            fds.close()
            self._give_up("slow_reader")
            return
        if not self._is_corked and fds is NO_DESCRIPTORS and isinstance(line, bytes):
            with self._lock:
                is_sent = self._send_whole(line)
            if is_sent:
                if len(line) > _UNCOUNTED:  # the rest of it may wait
                    self._count()
                return
        outbox.add(line, fds)
        if not self._is_corked:
            self._flush()
        self._count()

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[JsonObject], bool]:
        """Return a function that sends one partial result from any thread and returns whether it was sent.

        It is sent if nothing waits before it and the kernel takes it. The function has everything that it needs at
        hand: when a slow token comes, the processor's caches are cold, and each step costs time.
        """
        encode = jsonrpc.partial_encoder(call.id, as_notifications=as_notifications)
        lock = self._lock

        def send_now(partial: JsonObject) -> bool:
            line = encode(partial)
            if not lock.acquire(False):  # the event loop is sending, so it has to send the token too
                return False
            try:
                # If the call is finished, the event loop has answered it meanwhile, and the token is dropped.
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
                # A socket becomes writable only when three quarters of its buffer are free: a slow reader takes longer.
                if _unread_bytes(self._socket) < unread:
                    continue
                self._give_up("slow_reader")
                return
            with contextlib.suppress(BlockingIOError):
                self._outbox.send(self._socket)
            self._count()
            self._writable.unpark_all()
        self._is_writing = False

    def stop(self) -> None:
        """Send nothing more, since the client is gone; wake the tasks in ``wait_until_sent``."""
        self.is_gone = True
        self._writable.unpark_all()

    def close(self) -> None:
        """Close the socket, and drop what has not been sent."""
        with self._lock:
            closing.close_socket(self._socket)
        # It may be megabytes, and this object itself may wait long for the garbage collector.
        self._outbox.clear()
        self._holding.release()

    def count_beside(self, size: int) -> None:
        """Take note of this many bytes of answers that are made but not complete, since others of their batches run."""
        self._beside_bytes = size
        self._count()

    def _count(self) -> None:
        """Hold what waits; drop the client if its user has no room for it, as one that reads too slowly."""
        if self.is_gone:  # nothing is kept for it
            return
        size = self._outbox.unsent_bytes + self._outbox.waiting_shared_bytes + self._beside_bytes
        size = size if size > _UNCOUNTED else 0
        try:
            # One answer is sent, however long it is.
            self._holding.change(size, always=self._holding.is_alone)
        except RpcError:
            self._give_up("outboxes_full")

    def _send_whole(self, line: bytes) -> bool:
        """Send a line, with the lock held; return false if others wait before it or the kernel takes none of it."""
        if self._is_writing or self.is_gone:
            return False
        try:
            sent = self._socket.send(line)
        except OSError:  # it would block, or the client is gone, which the event loop notices by itself
            return False
        if sent < len(line):
            self._outbox.begin(memoryview(line)[sent:])
            self._leave_to_writer()
        return True

    def _flush(self) -> None:
        """Send as much of the outbox as the kernel takes at once; leave the rest to the writer."""
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
    """Return how many bytes the kernel holds for the peer (SIOCOUTQ); a partly read piece counts in full."""
    return int.from_bytes(fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(_INT_SIZE)), sys.byteorder)
