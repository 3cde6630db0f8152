"""What tensors cost by file descriptor and in base64, and what everybody else feels of it meanwhile."""

from __future__ import annotations

import binascii
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from tests.bench.measure import Latencies, connect
from tests.daemon import Daemon

MIB: Final = 1 << 20
IMAGE: Final = "RKNNSIM\ninput name=image type=uint8 dims=1,640,640,3\noutput name=scores type=uint8 dims=1,10\n"
IMAGE_BYTES: Final = 640 * 640 * 3
# fcntl(2), which Python 3.11 does not name.
_LONGEST_KEPT: Final = 65_536
_F_ADD_SEALS: Final = 1033
_F_SEAL_SHRINK: Final = 0x2


class Client:
    """A connection that sends prepared lines, with a descriptor perhaps, and waits for each answer."""

    def __init__(self, path: str) -> None:
        self._socket = connect(path)
        self._room = memoryview(bytearray(12 * MIB))  # for the longest answer; written to before it is measured

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, line: bytes, fd: int | None = None) -> bytes:
        """Return the answer's line, or the beginning of a long one."""
        if fd is None:
            self._socket.sendall(line)
        else:
            socket.send_fds(self._socket, [line], [fd])
        end = 0
        while not end or self._room[end - 1] != ord("\n"):
            received = self._socket.recv_into(self._room[end:])
            assert received, "the daemon closed the connection"
            end += received
        answer = bytes(self._room[: min(end, _LONGEST_KEPT)])
        assert answer.startswith(b'{"jsonrpc":"2.0","id":1,"result"'), answer[:300]
        return answer

    def ask(self, method: str, params: dict[str, Any], fd: int | None = None) -> dict[str, Any]:
        """Return the result of a request."""
        result: dict[str, Any] = orjson.loads(self.send(request(method, params, fds=fd is not None), fd))["result"]
        return result


def request(method: str, params: dict[str, Any], *, fds: bool = False) -> bytes:
    """Return the line of a request."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **({"fds": 1} if fds else {})}
    return orjson.dumps(message) + b"\n"


@contextmanager
def memfd(size: int) -> Iterator[int]:
    """Give a file in memory as a client sends it, all of it written."""
    fd = os.memfd_create("bench", os.MFD_ALLOW_SEALING)
    try:
        for _ in range(0, size, MIB):
            os.write(fd, bytes(min(MIB, size)))
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK)
        yield fd
    finally:
        os.close(fd)


def while_pinging(path: str, work: Callable[[], None]) -> Latencies:
    """Return what a client in a process of its own waits for an instant answer while ``work`` is done."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("pinger.py")), path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as pinger:
        assert pinger.stdout is not None
        pinger.stdout.readline()
        work()
        said, _ = pinger.communicate()
    return Latencies.of([int(nanoseconds) / 1e9 for nanoseconds in said.split()])


def idle(path: str, seconds: float) -> Latencies:
    """Return the same while nothing else is done."""
    return while_pinging(path, lambda: time.sleep(seconds))


def big_descriptor(daemon: Daemon, context: int, rounds: int) -> tuple[float, Latencies]:
    """Return the median seconds of making a 64 MiB memory of a descriptor, and what others wait meanwhile.

    No byte is moved: what is measured is the daemon's own handling, and a round trip.
    """
    took: list[float] = []
    with Client(daemon.path) as client, memfd(64 * MIB) as fd:
        line = request("rknn.create_mem_from_fd", {"ctx": context, "fd": 0, "size": 64 * MIB}, fds=True)

        def work() -> None:
            for _ in range(rounds):
                started = time.perf_counter()
                answer = client.send(line, fd)
                took.append(time.perf_counter() - started)
                client.ask("rknn.destroy_mem", {"mem": orjson.loads(answer)["result"]["mem"]})

        latencies = while_pinging(daemon.path, work)
    return sorted(took)[len(took) // 2], latencies


def written_by_descriptor(daemon: Daemon, context: int, rounds: int) -> Latencies:
    """Return what others wait while 64 MiB are written into a memory, over and over."""
    with Client(daemon.path) as client, memfd(64 * MIB) as fd:
        mem = client.ask("rknn.create_mem", {"ctx": context, "size": 64 * MIB})["mem"]
        line = request("rknn.mem_sync", {"mem": mem, "mode": 1, "data": {"fd": 0}}, fds=True)
        return while_pinging(daemon.path, lambda: _repeat(lambda: client.send(line, fd), rounds))


def picture_costs(daemon: Daemon, context: int, rounds: int) -> dict[str, float]:
    """Return the CPU seconds, daemon's and client's together, that an inference takes by what its picture comes in.

    ``mem``: it is in a tensor memory already; so that is what the runtime itself takes, its own copy included.
    """
    picture = os.urandom(IMAGE_BYTES)
    with Client(daemon.path) as client, memfd(IMAGE_BYTES) as fd:
        mem = client.ask("rknn.create_mem", {"ctx": context, "size": IMAGE_BYTES})["mem"]
        os.pwrite(fd, picture, 0)
        in_memory = request("rknn.infer", {"context": context, "inputs": {"mem": mem}})
        by_descriptor = request("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=True)
        before, after = request("rknn.infer", {"context": context, "inputs": "PICTURE"}).split(b"PICTURE")
        bare = request("rknn.run", {"context": context})
        ways: dict[str, Callable[[], object]] = {
            "mem": lambda: client.send(in_memory),
            "fd": lambda: client.send(by_descriptor, fd),
            "base64": lambda: client.send(before + binascii.b2a_base64(picture, newline=False) + after),
            "run": lambda: client.send(bare),
        }
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(5):  # in turn, so that what else happens on the machine meets all
            for name, way in ways.items():
                started = _cpu_seconds(daemon)
                _repeat(way, rounds)
                costs[name].append((_cpu_seconds(daemon) - started) / rounds)
    return {name: min(values) for name, values in costs.items()}


def base64_in(daemon: Daemon, context: int, rounds: int, asked: str | None = None) -> Latencies:
    """Return what others wait while 8 MiB come in base64, over and over; ``asked`` is another daemon's socket."""
    with Client(daemon.path) as client:
        mem = client.ask("rknn.create_mem", {"ctx": context, "size": 8 * MIB})["mem"]
        text = binascii.b2a_base64(os.urandom(8 * MIB), newline=False).decode()
        line = request("rknn.mem_sync", {"mem": mem, "mode": 1, "data": text})
        return while_pinging(asked or daemon.path, lambda: _repeat(lambda: client.send(line), rounds))


def base64_out(daemon: Daemon, context: int, rounds: int, asked: str | None = None) -> Latencies:
    """Return what others wait while 8 MiB go out in base64, over and over; ``asked`` is another daemon's socket."""
    with Client(daemon.path) as client:
        mem = client.ask("rknn.create_mem", {"ctx": context, "size": 8 * MIB})["mem"]
        line = request("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True})
        return while_pinging(asked or daemon.path, lambda: _repeat(lambda: client.send(line), rounds))


def _repeat(work: Callable[[], object], rounds: int) -> None:
    for _ in range(rounds):
        work()


def _cpu_seconds(daemon: Daemon) -> float:
    """Return what the daemon and this process have used so far."""
    # What clock_getcpuclockid(3) returns; /proc counts in hundredths of seconds.
    clock = ~daemon.process.pid << 3 | 2
    return time.clock_gettime(clock) + time.process_time()


def bare_step(steps: int) -> float:
    """Return the longest CPU seconds of one step of a bare loop: read 64 KiB, keep them. The machine's own noise."""
    ours, theirs = socket.socketpair()
    program = "import os; data = bytes(65536)\nwhile os.write(1, data): pass"
    longest = 0.0
    with ours, theirs, subprocess.Popen([sys.executable, "-c", program], stdout=theirs.fileno()) as writer:
        room = bytearray(11 * MIB)
        for step in range(steps):
            started = time.thread_time()
            data = ours.recv(65_536)
            place = step * 65_536 % (10 * MIB)
            room[place : place + len(data)] = data
            longest = max(longest, time.thread_time() - started)
        writer.kill()
    return longest
