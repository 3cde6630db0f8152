"""Threads that pass tokens on from one socket to another, as long as nothing else comes.

A turn of the event loop takes longer than all the rest of a token's way through the gateway: at the speed of an NPU the
processor has forgotten its code from one token to the next. A thread that only waits for the next token makes two
system calls for each. There are as many as streams that are generated at once: who waits for its turn has none.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

import trio

# This much is read at once: Python has room at hand for a token or two, and asks the system for more only where they
# come faster.
_FEW_BYTES: Final = 478
_MANY_BYTES: Final = 65_536
_NEWLINE: Final = 10
# More than there are connections: nobody waits for a thread.
_THREADS: Final = trio.CapacityLimiter(1024)
Translate = Callable[[bytes], tuple[bytes, bytes]]
"""Return what the beginning of some lines becomes, and the rest, which is to be seen by somebody else.

A rest without the end of a line is given again, with what follows it up to the end of one.
"""


def send_now(descriptor: int, data: bytes) -> int:
    """Return how many bytes were sent without waiting.

    0 where the client does not take them, or has gone: who sends next finds out.
    """
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


@lru_cache(256)
def _size_line(size: int) -> bytes:
    """Return how a chunk of this many bytes begins: the same few sizes come again and again."""
    return b"%x\r\n" % size


class Way:
    """From a daemon's socket to a client's, which has an answer in chunks of HTTP.

    Once it has ended, it touches neither of them any more, and ``rest`` is what came and was not passed on, ``unsent``
    the end of what was, since the client did not take it. ``was_idle``: nothing came for too long.
    """

    def __init__(self, source: socket.socket, target: int, translate: Translate, idle_seconds: float) -> None:
        """``target`` is the client's descriptor, which does not block."""
        self.unsent = b""
        self.was_idle = False
        self._coming: list[bytes] = []  # a line that has not ended yet: long ones come in many pieces
        self._source = source
        self._target = target
        self._translate = translate
        self._idle_seconds = idle_seconds
        self._has_ended = False
        self._failure: Exception | None = None

    @property
    def rest(self) -> bytes:
        """Return what has come and was not passed on."""
        return b"".join(self._coming)

    async def carry(self) -> None:
        """Pass on what comes until something else does; given up where this is cancelled. Raises what translating does.

        The source blocks meanwhile, and is nobody else's. The client's connection may be closed meanwhile: its number
        may be another client's at once, so the thread has one of its own.
        """
        try:
            self._target = os.dup(self._target)
        except OSError:  # there can be no more: the event loop passes it on
            return
        try:
            await self._carry()
        finally:
            os.close(self._target)
        if self._failure is not None:
            raise self._failure

    async def _carry(self) -> None:
        self._source.settimeout(None)
        whole, part = divmod(self._idle_seconds, 1)
        # Of two 64-bit numbers, a kernel that wants 32-bit ones takes the seconds.
        self._source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", int(whole), int(part * 1e6)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up_in_the_end)
                try:
                    await trio.to_thread.run_sync(self._run, limiter=_THREADS)
                except RuntimeError:  # there can be no more threads: the event loop passes it on
                    self._has_ended = True
                nursery.cancel_scope.cancel()
        finally:
            self._source.setblocking(False)

    async def _give_up_in_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """End it if it has not ended, and the connection to the daemon with it."""
        if not self._has_ended:
            self._has_ended = True
            with suppress(OSError):
                self._source.shutdown(socket.SHUT_RDWR)  # which wakes the thread

    def _run(self) -> None:
        try:
            self._pass_on()
        except BlockingIOError:
            self.was_idle = True
        except OSError:  # the next who reads finds out
            pass
        except Exception as error:
            self._failure = error
        self._has_ended = True

    def _pass_on(self) -> None:
        """Pass on what comes, until something else does.

        Few steps, since each costs: what is looked up or allocated in another way, the processor has to fetch again.
        """
        read, source, target, translate = os.read, self._source.fileno(), self._target, self._translate
        coming, most = self._coming, _FEW_BYTES
        while data := read(source, most):
            most = _FEW_BYTES if len(data) < most else _MANY_BYTES
            if self._has_ended:
                coming.append(data)
                return
            lines = data if data[-1] == _NEWLINE and not coming else self._with_what_came(data)
            if not lines:
                continue
            piece, rest = translate(lines)
            if rest:
                coming.append(rest)
            if piece:
                chunk = _size_line(len(piece)) + piece + b"\r\n"
                sent = send_now(target, chunk)
                if sent < len(chunk):
                    self.unsent = chunk[sent:]
                    return
            if rest and b"\n" in rest:  # else it may be the beginning of a line
                return

    def _with_what_came(self, data: bytes) -> bytes:
        """Return this with all that waits for the end of a line, once there is one in it."""
        self._coming.append(data)
        if b"\n" not in data:
            return b""
        lines = self.rest
        self._coming.clear()
        return lines
