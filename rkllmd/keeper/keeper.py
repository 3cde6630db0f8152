"""The keeper's loop: one thread that waits for signals, for what the daemon tells, and for its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Sequence

from rkllmd.keeper import journal, report, socket_file, spawn, ties, words
from rkllmd.keeper.answering import Answering
from rkllmd.keeper.course import ABORT, Course, Pulse, status_after
from rkllmd.keeper.manager import Manager
from rkllmd.keeper.spawn import Child
from rkllmd.keeper.ties import Ties

# How long the loop sleeps if nothing happens.
_TURN_SECONDS = 1.0
_MESSAGE_BYTES = 65_536
_ENDS_ON_HANGUP = ("terminal", "parent")
_CRASHED_OFTEN = "The daemon has crashed several times and is being started again: try again later."


class Keeper:
    """The parent of the daemon that serves now, and of those after it."""

    def __init__(self, child: Child, command: Sequence[str], environ: dict[str, str]) -> None:
        """``child`` runs already; those after it are started with ``command`` and ``environ``."""
        now = time.monotonic()
        self._child: Child | None = child
        self._pulse = Pulse(now)
        self._course = Course(now)
        self._command = command
        self._environ = environ
        self._manager = Manager(environ)
        self._parent = os.getppid()
        self._ends_with = "nothing"
        # Whether no other daemon is to follow; and whether that was asked of the keeper itself, so that to be asked
        # again means to hurry. It may also be the daemon that has said so, which got the same signal a moment before.
        self._is_stopping = False
        self._was_asked_to_stop = False
        # What goes to the next daemon.
        self._held = Ties()
        self._held.reports = report.make()
        self._listening = _passed_on(environ)
        self._answering = Answering()
        self._last_end = ""
        self._status: int | None = None
        self._ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._signalled, writer = os.pipe()
        for descriptor in (self._signalled, writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in spawn.SIGNALS:
            signal.signal(number, _nothing)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def run(self) -> int:
        """Keep a daemon running until one has left in order, or can't start; return the exit status."""
        while self._status is None:
            self._wait()
            self._hear()
            self._obey_signals()
            self._look_for_ends()
            now = time.monotonic()
            self._look_at_child(now)
            if self._child is None and self._status is None and now >= self._course.start_at:
                self._start(now)
            if self._course.answers(now):
                self._answer(self._course.retry_after_ms(now), _CRASHED_OFTEN)
            self._manager.send_waiting()
            if self._child is None or self._pulse.is_fresh:
                self._manager.feed(now)
        self._leave()
        return self._status

    def _wait(self) -> None:
        now = time.monotonic()
        until = now + min(_TURN_SECONDS, self._manager.feed_seconds)
        if self._child is None:
            until = min(until, self._course.start_at)
        events = select.poll()
        events.register(self._signalled, select.POLLIN)
        if self._child is not None and self._child.is_heard:
            events.register(self._child.control, select.POLLIN)
        if self._listening is not None and self._course.answers(now) and not self._answering.is_busy:
            events.register(self._listening, select.POLLIN)
        events.poll(max(0.0, until - now) * 1000)

    # -- signals -----------------------------------------------------------------------------------------------------

    def _obey_signals(self) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._signalled, 4096)
        for number in numbers:
            if number == signal.SIGHUP and self._ends_with not in _ENDS_ON_HANGUP:
                self._tell(ties.HANGUP)
            elif number != signal.SIGCHLD:
                self._stop()
        if self._ends_with == "parent" and os.getppid() != self._parent and not self._is_stopping:
            self._stop()

    def _stop(self) -> None:
        """Let the daemon leave, at once if it was told so before; without one there is nothing to wait for."""
        hurries, self._was_asked_to_stop = self._was_asked_to_stop, True
        self._is_stopping = True
        if self._child is None:
            self._status = 0
        elif not self._course.is_ready:  # it may not have a loop yet that would hear
            os.kill(self._child.pid, signal.SIGKILL if hurries else signal.SIGTERM)
        else:
            self._tell(ties.HURRY if hurries else ties.STOP)

    def _tell(self, word: bytes) -> None:
        if self._child is not None:
            with contextlib.suppress(OSError):
                self._child.control.send(word)

    # -- the daemon --------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        child = self._child
        while child is not None and child.is_heard:
            try:
                message, descriptors, _, _ = socket.recv_fds(child.control, _MESSAGE_BYTES, 2)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                child.is_heard = False
                return
            self._take(message, descriptors)

    def _take(self, message: bytes, descriptors: Sequence[int]) -> None:
        relayed = []
        for line in message.split(b"\n"):
            name, _, value = line.decode(errors="surrogateescape").partition("=")
            if name == ties.SOCKET:
                self._take_socket(value, *descriptors)
            elif name == ties.ENDS_WITH:
                self._ends_with = value
            elif name == ties.SETTLED:
                self._course.settled()
            elif name == ties.READ:
                report.forget(self._held.reports)
            else:
                relayed.append(line)
                if name == "READY":
                    self._course.ready(time.monotonic())
                elif name == "STOPPING":
                    self._is_stopping = True
        if relayed:
            self._manager.send(b"\n".join(relayed))

    def _take_socket(self, place: str, listening: int, lock: int) -> None:
        """Keep a socket that the daemon has bound; it listens from now on, and the kernel tells clients our number."""
        before, self._listening = self._listening, socket.socket(fileno=listening)
        self._listening.setblocking(False)
        self._listening.listen(socket_file.BACKLOG)
        if before is not None:
            before.close()
            os.close(self._held.lock)
        self._held.socket, self._held.lock, self._held.place = listening, lock, place
        self._tell(ties.LISTENING)

    def _look_at_child(self, now: float) -> None:
        child = self._child
        if child is None:
            return
        in_long_call = journal.is_in_long_call(child.journal)
        due = self._pulse.look(now, journal.beats(child.journal), in_long_call=in_long_call)
        if due is not None and _is_stopped(child.pid):
            self._pulse = Pulse(now)
        elif due is not None:
            self._end(child, due)

    def _end(self, child: Child, due: str) -> None:
        """End a daemon that is stuck, in two steps."""
        child.is_stuck = True
        if due == ABORT:
            sentence = f"The daemon (pid {child.pid}) has not responded for {self._pulse.limit_seconds:.0f} s."
            words.log("error", "daemon_stuck", sentence, pid=child.pid)
            self._manager.send(f"STATUS={sentence}".encode())
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGABRT if due == ABORT else signal.SIGKILL)

    def _look_for_ends(self) -> None:
        """Note the end of the daemon; where this is process 1, others' children end here as well."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            child = self._child
            if child is not None and ended.si_pid == child.pid:
                self._hear()  # its last words
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)  # what its libraries may have started holds the NPU as well
            _, status = os.waitpid(ended.si_pid, 0)
            self._answering.has_ended(ended.si_pid)
            if child is not None and ended.si_pid == child.pid:
                self._child = None
                self._ended(child, os.waitstatus_to_exitcode(status))
                child.close()

    def _ended(self, child: Child, code: int) -> None:
        """Decide what follows the end of the daemon."""
        rest = report.rest_of(child)
        words.write(2, report.unlogged(rest))
        has_served = self._course.is_ready or self._course.crashes > 0
        self._status = status_after(
            code, is_stopping=self._is_stopping, has_served=has_served, has_socket=self._listening is not None
        )
        if self._status is None:
            self._course.ended(time.monotonic())
            code = report.first_end(code, rest.stacks)
            end, crashes = words.end_of(code), self._course.crashes
            sentence = f"The daemon (pid {child.pid}) has ended: {end}. It is started again."
            words.log("error", "daemon_ended", sentence, pid=child.pid, end=end, crashes=crashes)
            report.add(self._held.reports, report.facts_of(child, code, crashes), rest)
            self._manager.send(f"STATUS={sentence}".encode())
            self._last_end = end
        elif has_served and not self._is_stopping:
            words.log("error", "daemon_cannot_start", "The daemon can't be started again: it has said why.")
        elif self._status == ties.UNEXPECTED and not self._is_stopping:
            sentence = "The daemon can't start: the error above was not expected. Please report it."
            words.log("error", "daemon_cannot_start", sentence)

    def _start(self, now: float) -> None:
        self._course.started(now)
        try:
            self._child = spawn.start(self._command, self._environ, self._held, ignores_hangup=self._ignores_hangup)
        except OSError as error:  # no memory, no descriptors, no process
            self._course.ended(now)
            words.log("error", "daemon_not_started", f"The daemon can't be started: {error.strerror}.")
            return
        self._pulse = Pulse(now)

    # -- clients, while there is no daemon ---------------------------------------------------------------------------

    def _answer(self, retry_after_ms: int | None, sentence: str) -> None:
        """Tell those who are waiting that there is no daemon now, and when there may be one."""
        if self._listening is not None:
            facts = {"retry_after_ms": retry_after_ms, "crashes": self._course.crashes, "end": self._last_end or None}
            self._answering.begin(self._listening, words.restarting(sentence, **facts), time.monotonic())

    def _leave(self) -> None:
        """Answer who still waits, and leave nothing behind; a socket that was passed on stays."""
        if self._status != 0:
            self._answer(None, "The daemon can't start, and its log says why.")
        self._answering.finish()
        if self._held.place:
            path, inode = socket_file.parse(self._held.place)
            socket_file.remove(path, inode)
            socket_file.unlock(path, self._held.lock)


def _passed_on(environ: dict[str, str]) -> socket.socket | None:
    """Return the socket that the service manager has passed, if it is one; what is wrong with it the daemon says."""
    if environ.get("LISTEN_PID") != str(os.getpid()) or environ.get("LISTEN_FDS") != "1":
        return None
    try:
        found = socket.socket(fileno=os.dup(spawn.FIRST_INHERITED))
        found.setblocking(False)  # of all who share it
    except OSError:
        return None
    return found


def _is_stopped(pid: int) -> bool:
    """Return whether somebody has stopped the process, or looks at it with a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _nothing(number: int, frame: object) -> None:
    """Handle a signal: its number is in the pipe."""
