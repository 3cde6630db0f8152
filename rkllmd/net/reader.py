"""Reads what one client sends, and has it handled: by whom, for how long, and when more is read.

What arrives is handled at once, on the event loop (net/receiver.py), unless that takes longer: a long line, a batch, or
many lines. These are left to the connection's own task, and nothing more is read meanwhile.
"""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from rkllmd.net.inbox import FD_SIZE, Inbox, descriptors_in, is_large, takes_long
from rkllmd.net.receiver import SLICE_SECONDS
from rkllmd.net.sender import Sender
from rkllmd.service import dispatch, preparation
from rkllmd.wire import jsonrpc
from rkllmd.wire.members import NO_MEMBERS

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Client
    from rkllmd.net.receiver import Receiver
    from rkllmd.service.parts import Service

_RECEIVE_BYTES: Final = 65_536
# This many come with a message at most. Fewer are taken, but the kernel would close those for which there is no room,
# which may take long (wire/closing.py).
_SCM_MAX_FD: Final = 253
_ANCILLARY_BYTES: Final = stdlib_socket.CMSG_SPACE(_SCM_MAX_FD * FD_SIZE)
_FLAGS: Final = stdlib_socket.MSG_CMSG_CLOEXEC

# Closing a socket with unread bytes gives their sender an error in place of the end of file: so the client has this
# long to close its side first.
_FAREWELL_SECONDS: Final = 1.0


class Reader:
    """Reads from a client until nothing more can come."""

    def __init__(
        self,
        socket: stdlib_socket.socket,
        service: Service,
        client: Client,
        inbox: Inbox,
        sender: Sender,
        start: Callable[[jsonrpc.Call, preparation.Prepared], None],
    ) -> None:
        """``start`` lets a call of ``client`` begin that is prepared; what it raises is the call's answer."""
        self._socket, self._service, self._client = socket, service, client
        self._inbox, self._sender = inbox, sender
        self._start = start
        self._failure: Exception | None = None
        self._slow: jsonrpc.Call | None = None  # a call that could not be prepared at once
        self.is_cut = False
        """Whether the daemon reads no more than what has arrived."""
        self.heard_at = time.monotonic()
        """When the client last sent something, or connected; monotonic seconds."""

    async def read(self, receiver: Receiver) -> None:
        """Read until the end of file, or until no more can be understood. Raises OSError."""
        while not self._inbox.is_over:
            with receiver.receiving(self._socket, self._on_readable) as left_alone:
                await left_alone.park()
            if self._sender.is_gone:
                return
            if self._failure is not None:
                raise self._failure
            await self._handle_rest()
            # More lines that have come are handled here: otherwise clients that always send more would queue up in the
            # receiver.
            while self._receives_more():
                await self._handle_rest()
        self._inbox.check_length()

    def cut(self) -> None:
        """Read what the client has sent by now and nothing more."""
        self.is_cut = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_RD)  # what has arrived can still be read, followed by end of file

    async def read_away(self) -> None:
        """Send nothing more, and drop what still comes, until the client closes its side too."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(stdlib_socket.SHUT_WR)
            with trio.move_on_after(_FAREWELL_SECONDS):
                data = b"unread"
                while data:
                    await trio.lowlevel.wait_readable(self._socket)
                    data, ancillary, *_ = self._socket.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, _FLAGS)
                    descriptors_in(ancillary).close()

    def close(self) -> None:
        """Let go of what has come and was not handled."""
        self._inbox.close()
        if self._slow is not None:
            self._slow.fds.close()

    def _receives_more(self) -> bool:
        if not self._inbox.is_over:
            self._receive()
        self._inbox.check_descriptors()
        return bool(self._inbox.lines)

    def _on_readable(self) -> bool:
        """Handle what has arrived; return false if there is more than can be done at once, which the task then does."""
        if self._sender.is_gone:
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
            data, ancillary, flags, _ = self._socket.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES, _FLAGS)
        except BlockingIOError:
            return
        if ancillary or flags & stdlib_socket.MSG_CTRUNC:
            self._inbox.take_descriptors(ancillary, flags)
        if data:
            self._inbox.feed(data)
        else:
            self._inbox.end(is_cut=self.is_cut)

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
            prepared = preparation.prepare_at_once(self._service, self._client, call)
            if prepared is None:
                self._slow = call
            else:
                self._start(call, prepared)
        except Exception as error:  # the call is answered, whatever happened
            dispatch.refuse(self._client, call, error)

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
        async with self._service.long_requests.take(self._client.user):
            message = await trio.to_thread.run_sync(self._inbox.parse_next)
            for call in self._inbox.calls_of(message, None):
                await self._handle_apart(call)

    async def _handle_apart(self, call: jsonrpc.Call) -> None:
        is_known, self._slow = call is self._slow, None
        try:
            if not is_known:
                self._inbox.give_descriptors(call)
            self._start(call, await preparation.prepare_apart(self._service, self._client, call))
        except Exception as error:  # as above
            dispatch.refuse(self._client, call, error)
