"""Something small for the keeper to keep: each start does what the next line of a file says.

A line has steps, ``; `` between them; each is a method below.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from rkllmd.keeper import journal, socket_file, ties
from rkllmd.keeper.ties import Ties

BEAT_SECONDS = 0.2


class FakeDaemon:
    """One start."""

    def __init__(self, directory: Path, tied: Ties) -> None:
        self.directory = directory
        self.tied = tied
        self.control = socket.socket(fileno=tied.control)
        self.listening: socket.socket | None = None
        self.started = 0
        if tied.place:
            self.listening = socket.socket(fileno=tied.socket)

    def next_line(self) -> str:
        """Return what is to be done; the last line again and again."""
        with (self.directory / "starts").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{os.getpid()}\n".encode())
            file.seek(0)
            self.started = len(file.readlines())
        lines = (self.directory / "script").read_text().splitlines()
        return lines[min(self.started, len(lines)) - 1]

    def run(self) -> None:
        """Do it."""
        for step in self.next_line().split("; "):
            name, _, argument = step.partition(" ")
            getattr(self, f"do_{name}")(argument)

    def tell(self, text: str) -> None:
        """Tell the keeper something."""
        self.control.send(text.encode())

    def beat(self) -> None:
        """Beat for ever, on a thread of its own."""
        count = 0
        while True:
            count += 1
            os.pwrite(self.tied.journal, count.to_bytes(8, "little"), journal.BEATS)
            time.sleep(BEAT_SECONDS)

    def do_bind(self, _: str) -> None:
        """Bind the socket and hand it over, unless there is one."""
        path = str(self.directory / "rkllm.sock")
        if self.listening is None:
            lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            self.listening = socket.socket(socket.AF_UNIX)
            self.listening.bind(path)
            self.listening.listen()
            place = socket_file.describe(path, socket_file.inode_of(os.stat(path)))
            socket.send_fds(self.control, [f"{ties.SOCKET}={place}".encode()], [self.listening.fileno(), lock])
            assert self.control.recv(64) == ties.LISTENING

    def do_ready(self, _: str) -> None:
        """Serve from now on, and beat."""
        threading.Thread(target=self.beat, daemon=True).start()
        self.tell("READY=1\nSTATUS=serving")

    def do_settled(self, _: str) -> None:
        """Have loaded everything."""
        self.tell(f"{ties.SETTLED}=1")

    def do_tell(self, text: str) -> None:
        """Tell the keeper this."""
        self.tell(text.replace("\\n", "\n"))

    def do_inherit(self, _: str) -> None:
        """Take the socket of the service manager."""
        assert os.environ["LISTEN_PID"] == str(os.getpid())
        self.listening = socket.socket(fileno=3)

    def do_straggle(self, _: str) -> None:
        """Leave a child behind."""
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        (self.directory / "straggler").write_text(str(pid))

    def do_print(self, text: str) -> None:
        """Print what nobody reads but the keeper."""
        os.write(self.tied.writer, text.encode())

    def do_stacks(self, text: str) -> None:
        """Write what faulthandler would."""
        os.write(self.tied.stacks, text.replace("\\n", "\n").encode())

    def do_exit(self, status: str) -> None:
        """End with this status."""
        os._exit(int(status))

    def do_kill(self, name: str) -> None:
        """End by this signal."""
        os.kill(os.getpid(), signal.Signals[name])

    def do_hold(self, _: str) -> None:
        """Wait until the file ``hold`` is gone."""
        while (self.directory / "hold").exists():
            time.sleep(0.002)

    def do_still(self, _: str) -> None:
        """Have an event loop that turns no more."""
        os.pwrite(self.tied.journal, (1).to_bytes(8, "little"), journal.BEATS)
        self.tell("READY=1")
        while True:
            signal.pause()

    def do_stubborn(self, _: str) -> None:
        """And take no notice of SIGABRT."""
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        self.do_still("")

    def do_serve(self, _: str) -> None:
        """Answer each client with the number of this start, until it is to leave."""
        assert self.listening is not None
        self.listening.setblocking(False)
        while True:
            readable = select.select([self.listening, self.control], [], [])[0]
            if self.control in readable:
                word = self.control.recv(64)
                with (self.directory / "words").open("ab") as file:
                    file.write(word + b"\n")
                if word == ties.STOP:
                    self.tell("STOPPING=1")
                    os._exit(0)
                if word == ties.HURRY:
                    os._exit(1)
            if self.listening in readable:
                try:
                    client, _ = self.listening.accept()
                except BlockingIOError:
                    continue
                with client:
                    client.sendall(f"{self.started}\n".encode())


def main() -> None:
    """Be started by a keeper."""
    tied = ties.take(os.environ)
    assert tied is not None
    FakeDaemon(Path(sys.argv[1]), tied).run()


if __name__ == "__main__":
    main()
