"""Threads that pass tokens on from one socket to another, as long as nothing else comes.

A turn of the event loop takes longer than all the rest of a token's way through the gateway: at the speed of an NPU the
processor has forgotten its code from one token to the next. A thread that only waits for the next token makes two
system calls for each. There are as many as streams that are generated at once: who waits for its turn has none.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

_RECEIVE_BYTES: Final = 65_536
# More than there are connections: nobody waits for a thread.
_THREADS: Final = trio.CapacityLimiter(1024)
Translate = Callable[[bytes], tuple[bytes, bytes]]
"""Return what the beginning of some lines becomes, and the rest, which is to be seen by somebody else.

A rest without the end of a line is given again, with what follows it up to the end of one.
"""


def send_now(descriptor: int, data: bytes) -> int:
    """Return how many bytes were sent without waiting.

    None where the client does not take them, or has gone: who sends next finds out.
    """
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


class Way:
    """From a daemon's socket to a client's, which has an answer in chunks of HTTP.

    Once it has ended, it touches neither of them any more, and ``rest`` is what came and was not passed on, ``unsent``
    the end of what was, since the client did not take it. ``was_idle``: nothing came for too long.
    """

    def __init__(self, source: socket.socket, target: int, translate: Translate, idle_seconds: float) -> None:
        """``target`` is the client's descriptor, which does not block, and is closed only after ``give_up``."""
        self.unsent = b""
        self.was_idle = False
        self._coming: list[bytes] = []  # a line that has not ended yet: long ones come in many pieces
        self._source = source
        self._target = target
        self._translate = translate
        self._idle_seconds = idle_seconds
        self._has_ended = False
        # Held while something is sent, for no longer than a system call that does not block, and while it ends.
        self._lock = threading.Lock()
        self._failure: Exception | None = None

    @property
    def rest(self) -> bytes:
        """Return what has come and was not passed on."""
        return b"".join(self._coming)

    async def carry(self) -> None:
        """Pass on what comes until something else does; given up where this is cancelled. Raises what translating does.

        The source blocks meanwhile, and is nobody else's.
        """
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
        if self._failure is not None:
            raise self._failure

    async def _give_up_in_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """End it if it has not ended, and the connection to the daemon with it."""
        with self._lock:
            if not self._has_ended:
                self._has_ended = True
                with suppress(OSError):
                    self._source.shutdown(socket.SHUT_RDWR)  # which wakes the thread

    def _run(self) -> None:
        receive = self._source.recv
        try:
            while self._pass_on(receive(_RECEIVE_BYTES)):
                pass
        except BlockingIOError:
            self.was_idle = True
        except OSError:  # the next who reads finds out
            pass
        except Exception as error:
            self._failure = error
        with self._lock:
            self._has_ended = True

    def _pass_on(self, data: bytes) -> bool:
        """Pass on what has come; return whether it goes on."""
        with self._lock:
            self._coming.append(data)
            if self._has_ended:
                return False
            if b"\n" not in data:
                return bool(data)
            piece, rest = self._translate(b"".join(self._coming))
            self._coming = [rest]
            if piece:
                chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
                sent = send_now(self._target, chunk)
                if sent < len(chunk):
                    self.unsent = chunk[sent:]
                    return False
        # The rest may be the beginning of a line.
        return b"\n" not in rest
