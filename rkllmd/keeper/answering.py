"""Answers clients who wait while there is no daemon, by a process of its own.

To close a connection may take as long as its client likes: the kernel closes the file descriptors in it too, that were
sent and not received (``rkllmd/wire/closing.py``). The keeper must wait for nobody.
"""

import contextlib
import os
import select
import signal
import socket
import time

# A process that takes longer is held up, and killed when others want to be answered.
_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_MESSAGE_BYTES = 65_536
# Of so many at once; who comes later is answered by the next process.
_AT_ONCE = 64


class Answering:
    """The process that answers, if there is one: a child of this process, which tells its end by ``has_ended``."""

    def __init__(self) -> None:
        self._process: int | None = None
        self._began_at = 0.0

    @property
    def is_busy(self) -> bool:
        """Return whether others have to wait."""
        return self._process is not None

    def begin(self, listening: socket.socket, line: bytes, now: float) -> None:
        """Have all answered with ``line`` who wait to be accepted; ``now`` is monotonic. Raises nothing."""
        if self._process is not None:
            if now - self._began_at < _SECONDS:
                return
            os.kill(self._process, signal.SIGKILL)
        if not _is_anybody_there(listening):
            return
        # The child has the handlers of this process, which would tell it of the child's signals.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            process = os.fork()
            if process == 0:
                try:
                    _keep_only(listening.fileno())
                    answer_all(listening, line)
                finally:
                    os._exit(0)
            self._process, self._began_at = process, now
        except OSError:  # no memory for it: who waits is served by the next daemon, or the next time
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def has_ended(self, process: int) -> None:
        """Take note of the end of a child of this process, whichever it was."""
        if process == self._process:
            self._process = None

    def finish(self) -> None:
        """Wait until all are answered, but not for one who holds that up."""
        until = time.monotonic() + _SECONDS
        while self._process is not None and time.monotonic() < until:
            with contextlib.suppress(ChildProcessError):
                ended, _ = os.waitpid(self._process, os.WNOHANG)
                self.has_ended(ended)
            time.sleep(_LOOK_SECONDS)
        if self._process is not None:
            os.kill(self._process, signal.SIGKILL)


def _is_anybody_there(listening: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    return bool(waiting.poll(0))


def _keep_only(descriptor: int) -> None:
    """Close what is this process's, but for the socket and what is written to: it must not outlive the keeper here."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def answer_all(listening: socket.socket, line: bytes) -> None:
    """Answer all who are waiting with one line; one who has gone does not matter."""
    for _ in range(_AT_ONCE):
        try:
            client, _ = listening.accept()
        except OSError:  # nobody is there, or out of descriptors
            return
        with client, contextlib.suppress(OSError):
            client.setblocking(False)
            client.send(line)
            client.shutdown(socket.SHUT_WR)
            client.recv(_MESSAGE_BYTES)  # or its client would see an error in the place of the end
