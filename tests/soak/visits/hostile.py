"""Visits of those who are of no use: nonsense, half lines, connections in masses, and clients that read nothing."""

from __future__ import annotations

import contextlib
import json
import os

from tests.server.descriptors.tensors import FdWire, closing
from tests.soak.guest import opened
from tests.soak.place import Visit
from tests.soak.visits.upkeep import model
from tests.wire_connection import Wire

_STORM = 40
_NONSENSE = (
    b"\0\xff\xfe nonsense\n",
    b'{"jsonrpc":"2.0","id":1,"method":"rkllm.run","params":[[[[[[[[[[[[[\n',
    b"[" * 20_000 + b"\n",
    b"[" + b"[]," * 5_000 + b"[]]\n",
    b'{"jsonrpc":"2.0","id":1,"method":"rkllm.init","params":{"model_path":"/etc/shadow","top_k":1e400}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"rknn.init","params":{"model":{"data":"####"}}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"rknn.infer","params":{"context":1,"inputs":{"fd":9}},"fds":12}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"rkllm.destroy","params":[123456789]}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"no.such.thing"}\n',
    b"GET / HTTP/1.1\r\nHost: rkllm\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b'{"a": "' + b"x" * 300_000,
)
_BROKEN = (BrokenPipeError, ConnectionResetError)


def nonsense(visit: Visit) -> None:
    """Send what is no request; whatever is answered is JSON, and none of it is a fault of the daemon's own."""
    with Wire(visit.company.place.socket) as wire, contextlib.suppress(*_BROKEN):
        for _ in range(visit.choice.randrange(1, 6)):
            wire.send(visit.choice.choice(_NONSENSE))
        wire.half_close()
        received = bytearray()
        while data := wire.socket.recv(1 << 16):
            received += data
        assert b"InternalError" not in received, bytes(received[:2000])
        for line in received.split(b"\n"):
            if line.startswith((b"{", b"[")):
                json.loads(line)


def strange_descriptors(visit: Visit) -> None:
    """Send descriptors that nobody declares, and files that are no tensors."""
    null = os.open("/dev/null", os.O_RDONLY)
    with FdWire(visit.company.place.socket) as wire, closing(null) as fds, contextlib.suppress(*_BROKEN):
        wire.send_fds(b'{"jsonrpc":"2.0","id":1,"method":"server.queue"}\n', fds * visit.choice.randrange(1, 9))
        wire.receive()


def storms(visit: Visit) -> None:
    """Connect many times at once; most say nothing and leave."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(visit.company.place.socket)) for _ in range(_STORM)]
        for wire in wires[:: visit.choice.randrange(1, 8)]:
            with contextlib.suppress(*_BROKEN):
                wire.request("server.queue")
        visit.company.count("connections in storms", _STORM)


def deaf(visit: Visit) -> None:
    """Ask for much and read nothing, until the daemon has had enough."""
    with opened(visit.company) as guest:
        model(visit, guest)
    with Wire(visit.company.place.socket) as wire, contextlib.suppress(*_BROKEN, TimeoutError):
        wire.socket.settimeout(5)
        lines = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.get_constants"}\n' * 100
        for _ in range(50):
            wire.send(lines)
