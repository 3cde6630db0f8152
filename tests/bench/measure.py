"""The measurements: each takes a socket's path and returns figures. Plain sockets, so that the client costs little."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

IS_RUNNING: Final = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.is_running"}\n'
KV_CACHE_SIZE: Final = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.get_kv_cache_size"}\n'
CONSTANTS: Final = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.get_constants"}\n'
# The simulator writes a line for each call otherwise.
NO_TRACE: Final = {"RKLLM_SIMULATOR_TRACE": ""}
_RECEIVE_BYTES: Final = 65_536


@dataclass(frozen=True)
class Latencies:
    """Microseconds."""

    p50: float
    p99: float
    p999: float
    worst: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Latencies:
        """Summarise."""
        ordered = sorted(seconds)
        return cls(
            p50=1e6 * ordered[len(ordered) // 2],
            p99=1e6 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
            p999=1e6 * ordered[min(len(ordered) - 1, len(ordered) * 999 // 1000)],
            worst=1e6 * ordered[-1],
            count=len(ordered),
        )


def connect(path: str) -> socket.socket:
    """Return a connected socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    return connection


def ping_pong(path: str, line: bytes = CONSTANTS, requests: int = 40_000) -> float:
    """Return the requests per second of one connection that waits for each answer."""
    with connect(path) as connection:
        started = time.perf_counter()
        for _ in range(requests):
            connection.sendall(line)
            connection.recv(_RECEIVE_BYTES)
        return requests / (time.perf_counter() - started)


def pipelined(path: str, line: bytes = CONSTANTS, requests: int = 400_000) -> float:
    """Return the requests per second of one connection that waits for none."""
    chunk = line * 400

    def send(connection: socket.socket) -> None:
        for _ in range(requests // 400):
            connection.sendall(chunk)

    with connect(path) as connection:
        sender = threading.Thread(target=send, args=(connection,))
        started = time.perf_counter()
        sender.start()
        received = 0
        while received < requests:
            received += connection.recv(_RECEIVE_BYTES).count(b"\n")
        elapsed = time.perf_counter() - started
        sender.join()
        return requests / elapsed


def _stream(path: str, on_data: Callable[[bytes], None]) -> None:
    """Run rkllm.run_async and give each piece of what comes to ``on_data``, up to the final result."""
    with connect(path) as connection:
        connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"rkllm.run_async","params":{"prompt":"x"}}\n')
        tail = b""
        while True:
            data = connection.recv(_RECEIVE_BYTES)
            on_data(data)
            tail = (tail + data)[-600:]
            if b'"finish_reason"' in tail and tail.endswith(b"\n"):
                return
            assert data, "the daemon closed the connection"
            assert b'"error"' not in tail, tail


def partials(path: str) -> float:
    """Return the partial results per second of one full-speed stream."""
    received = 0

    def count(data: bytes) -> None:
        nonlocal received
        received += data.count(b"\n")

    started = time.perf_counter()
    _stream(path, count)
    return received / (time.perf_counter() - started)


def hop_latencies(count: int = 200) -> Latencies:
    """Return how long a bare Python process takes to hear from another that writes to it every 10 ms.

    No path from callback to client can be shorter on this machine at this moment.
    """
    program = (
        "import socket, sys, time\n"
        "wire = socket.socket(fileno=int(sys.argv[1]))\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    time.sleep(0.01)\n"
        "    wire.send(b'%d\\n' % time.monotonic_ns())\n"
    )
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", program, str(theirs.fileno()), str(count)]
    seconds: list[float] = []
    rest = b""
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]):
        theirs.close()
        while data := ours.recv(_RECEIVE_BYTES):
            now = time.monotonic_ns()
            *lines, rest = (rest + data).split(b"\n")  # several at once, where this process had to wait for its turn
            seconds += [(now - int(line)) / 1e9 for line in lines]
    assert len(seconds) == count, f"{len(seconds)} stamps came, not {count}"
    return Latencies.of(seconds)


def token_latencies(path: str) -> Latencies:
    """Return the time from the C callback, which the simulator stamps into the text, to its line at the client."""
    seconds: list[float] = []
    rest = b""

    def take(data: bytes) -> None:
        nonlocal rest
        now = time.monotonic_ns()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            text = orjson.loads(line)["result"]["text"]
            if text:
                seconds.append((now - int(text)) / 1e9)

    _stream(path, take)
    return Latencies.of(seconds[1:])


def instant_latencies(path: str, clients: int, seconds: float, pause: float = 0.0005) -> Latencies:
    """Let ``clients`` connections call instant methods in turn; return how long each answer took.

    Every answer must be a result: none may fail.
    """
    lines = [
        CONSTANTS,
        b'{"jsonrpc":"2.0","id":1,"method":"rkllm.createDefaultParam"}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"server.status"}\n',
    ]
    connections = [connect(path) for _ in range(clients)]
    sent_at: dict[socket.socket, float] = {}
    took: list[float] = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        end = time.perf_counter() + seconds
        turn = 0
        while (now := time.perf_counter()) < end or sent_at:
            connection = connections[turn % clients]
            if now < end and connection not in sent_at:
                sent_at[connection] = time.perf_counter()
                connection.sendall(lines[turn % len(lines)])
                turn += 1
            for key, _ in selector.select(pause):
                answered = key.fileobj
                assert isinstance(answered, socket.socket)
                answer = answered.recv(_RECEIVE_BYTES)
                took.append(time.perf_counter() - sent_at.pop(answered))
                assert b'"result"' in answer, answer
    for connection in connections:
        connection.close()
    return Latencies.of(took)
