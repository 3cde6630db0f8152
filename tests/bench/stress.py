"""The stress of the design: instant requests beside NPU work, all at once; who fails, and what the others wait."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import orjson

from tests.bench.measure import Latencies, connect

INSTANT_AT_ONCE: Final = 100
NPU_AT_ONCE: Final = 5
CLIENTS: Final = 10
INSTANT_CLIENTS: Final = 5
_INSTANT: Final = tuple(
    b'{"jsonrpc":"2.0","id":1,"method":"%s"}\n' % method
    for method in (b"server.status", b"rkllm.get_constants", b"rkllm.createDefaultParam")
)
RUN: Final = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.run","params":{"prompt":"Hello"}}\n'
_RECEIVE_BYTES: Final = 65_536


@dataclass(frozen=True)
class Outcome:
    """How long the answers to instant calls took, and how many calls of any kind were not answered with a result."""

    instant: Latencies
    failures: int


class _Client:
    """A connection with at most one call in flight."""

    def __init__(self, path: str) -> None:
        self.socket = connect(path)
        self.sent_at = 0.0
        self._received = b""

    def send(self, line: bytes) -> None:
        self._received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(line)

    def receive(self) -> bool:
        """Take what has come; return whether the answer is whole (or none will come any more)."""
        data = self.socket.recv(_RECEIVE_BYTES)
        self._received += data
        return not data or data.endswith(b"\n")

    @property
    def has_result(self) -> bool:
        """Return whether the answer that has come is a result."""
        return self._received.endswith(b"\n") and "result" in orjson.loads(self._received)


@contextmanager
def _clients(path: str, count: int) -> Iterator[list[_Client]]:
    with ExitStack() as stack:
        clients = [_Client(path) for _ in range(count)]
        for client in clients:
            stack.enter_context(client.socket)
        yield clients


def at_once(path: str, rounds: int, pause: float = 0.0) -> Outcome:
    """Send 100 instant and 5 NPU requests at once, each by a connection of its own; again when all are answered.

    With a ``pause`` between the rounds, in seconds, the cores go to sleep and their caches get cold in between.
    The NPU's are spread among the others. The time of each begins when it is sent, so that of the first ones has the
    sending of all others in it.
    """
    took: list[float] = []
    failures = 0
    with _clients(path, INSTANT_AT_ONCE + NPU_AT_ONCE) as clients, selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        every = len(clients) // NPU_AT_ONCE
        lines = [RUN if number % every == 0 else _INSTANT[number % len(_INSTANT)] for number in range(len(clients))]
        is_instant = {client: line is not RUN for client, line in zip(clients, lines, strict=True)}
        for _ in range(rounds):
            for client, line in zip(clients, lines, strict=True):
                client.send(line)
            took += [
                time.perf_counter() - client.sent_at
                for client in _answered(selector, len(clients))
                if is_instant[client]
            ]
            failures += sum(not client.has_result for client in clients)  # now that nobody waits
            time.sleep(pause)
    return Outcome(Latencies.of(took), failures)


def beside_a_load(path: str, load: bytes | None, seconds: float) -> Outcome:
    """Let five clients call instant methods without a pause for ``seconds``, while one loads and four wait to run.

    ``load``: the line that loads, which has to take longer than that; without it nothing is loaded and nobody waits.
    """
    took: list[float] = []
    failures = 0
    with _clients(path, CLIENTS) as clients, selectors.DefaultSelector() as selector:
        busy, (loader, *waiting) = clients[:INSTANT_CLIENTS], clients[INSTANT_CLIENTS:]
        if load is not None:
            loader.send(load)
            for client in waiting:
                client.send(RUN)
        turns = cycle(_INSTANT)
        for client in busy:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(next(turns))
        end, calls = time.perf_counter() + seconds, len(busy)
        while calls:
            for client in _ready(selector):
                now = time.perf_counter()
                took.append(now - client.sent_at)
                failures += not client.has_result
                if now < end:
                    client.send(next(turns))
                else:
                    calls -= 1
        if load is not None:
            failures += _without_result([loader, *waiting])
    return Outcome(Latencies.of(took), failures)


def _ready(selector: selectors.BaseSelector) -> Iterator[_Client]:
    """Wait; give those whose answer is whole."""
    for key, _ in selector.select():
        client: _Client = key.data
        if client.receive():
            yield client


def _answered(selector: selectors.BaseSelector, count: int) -> Iterator[_Client]:
    """Give ``count`` clients as their answers come."""
    return islice((client for _ in iter(int, 1) for client in _ready(selector)), count)


def _without_result(clients: Sequence[_Client]) -> int:
    failures = 0
    for client in clients:
        while not client.receive():
            pass
        failures += not client.has_result
    return failures
