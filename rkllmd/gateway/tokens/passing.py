"""A thread that passes tokens on from one socket to another, as long as nothing else comes.

A turn of the event loop takes longer than all the rest of a token's way through the gateway: at the speed of an NPU the
processor has forgotten its code from one token to the next.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

_RECEIVE_BYTES: Final = 65_536
Translate = Callable[[bytes], tuple[bytes, bytes]]
"""Return what the beginning of some bytes becomes, and the rest, which is to be seen by somebody else."""


class Way:
    """From a daemon's socket to a client's, which has an answer in chunks of HTTP; both do not block.

    Once ``has_ended``, it touches neither of them any more, and ``rest`` is what came and was not passed on, ``unsent``
    the end of what was, since the client did not take it.
    """

    def __init__(self, source: socket.socket, target: int, translate: Translate) -> None:
        """``target`` is the client's descriptor, which is closed only after ``end``."""
        self.has_ended = False
        self.rest = self.unsent = b""
        self._passed_at = time.monotonic()
        self.failure: Exception | None = None
        self.source: Final = source
        self._target = target
        self._translate = translate
        self._on_end: Callable[[], object] = lambda: None
        # Held while the sockets are used, for no longer than two system calls that do not block, and while it ends.
        self._lock = threading.Lock()

    @property
    def idle_seconds(self) -> float:
        """Return for how long nothing has come."""
        return time.monotonic() - self._passed_at

    def begin(self, on_end: Callable[[], object]) -> None:
        """Have this called, once, when it has ended, on whatever thread."""
        self._on_end = on_end

    def end(self) -> None:
        """End it, from any thread."""
        with self._lock:
            self._end()

    def pass_on(self) -> None:
        """Pass on what has come; on the thread, to which nothing is raised."""
        with self._lock:
            if self.has_ended:
                return
            try:
                goes_on = self._passes_on()
            except Exception as error:
                self.failure, goes_on = error, False
            if not goes_on:
                self._end()

    def _passes_on(self) -> bool:
        """Pass on what has come; return whether it goes on."""
        try:
            data = self.source.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:  # the next who reads finds out
            return False
        piece, self.rest = self._translate(data)
        if piece:
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
            try:
                sent = os.write(self._target, chunk)
            except OSError:  # the client does not take it, or has gone: the next who sends finds out
                sent = 0
            self.unsent = chunk[sent:]
            self._passed_at = time.monotonic()
        return not (self.rest or self.unsent) and bool(data)

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._on_end()


class Passing:
    """The thread, which is started for the first way and waits for all of them."""

    def __init__(self) -> None:
        self._ways: dict[int, Way] = {}
        self._epoll: select.epoll | None = None

    async def carry(self, way: Way) -> None:
        """Let tokens go this way until it ends, which it has too when this is cancelled. Raises its ``failure``."""
        ended = trio.Event()
        token = trio.lowlevel.current_trio_token()
        descriptor = way.source.fileno()

        epoll = self._epoll or self._start()

        def on_end() -> None:
            epoll.unregister(descriptor)
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(ended.set)

        way.begin(on_end)
        epoll.register(descriptor, select.EPOLLIN)
        self._ways[descriptor] = way
        try:
            await ended.wait()
        finally:
            way.end()
            del self._ways[descriptor]
        if way.failure is not None:
            raise way.failure

    def _start(self) -> select.epoll:
        self._epoll = select.epoll()
        threading.Thread(target=self._run, args=(self._epoll.poll,), name="tokens", daemon=True).start()
        return self._epoll

    def _run(self, poll: Callable[[], list[tuple[int, int]]]) -> None:
        get = self._ways.get
        while True:
            for descriptor, _ in poll():
                way = get(descriptor)
                if way is not None:
                    way.pass_on()
