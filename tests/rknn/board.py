"""What the tests of RKNN share: daemons on both runtimes, a connection that carries descriptors, and tensors."""

from __future__ import annotations

import array
import base64
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tests.daemon import BUILD_DIRECTORY, Daemon, Start, until
from tests.simulator import trace
from tests.simulator.build import build_operator
from tests.wire_connection import Wire

Array = npt.NDArray[Any]

DEMO = Path(__file__).resolve().parents[2] / "rkllmd" / "portable" / "demo"
DIGITS = DEMO / "digits.onnx"

# The simulator's: output k is input k's bytes if type and size are the same, else numbers that follow from their sum.
ECHO = b"RKNNSIM\ninput name=x type=uint8 dims=8\noutput name=y type=uint8 dims=8\n"
BYTES = bytes(range(8))  # an input for it
TWO_SHAPES = (
    b"RKNNSIM\ninput name=x type=int8 dims=1,4,4,3|1,8,8,3 scale=0.5 zp=-3\n"
    b"output name=y type=int8 dims=1,4,4,3|1,8,8,3 scale=0.25 zp=4\n"
)

NOTHING: dict[str, list[Any]] = {"contexts": [], "matmuls": [], "memories": []}
_DTYPES = {"float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool"}


class Client(Wire):
    """A connection that sends and receives descriptors, and remembers which methods it asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.descriptors: list[int] = []
        self.asked: set[str] = set()
        self._lines: list[bytes] = []
        self._rest = b""

    def __exit__(self, *_: object) -> None:
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors.clear()
        self.socket.close()

    def request(
        self, method: str, params: Any = None, call_id: Any = 1, *, fds: Sequence[int] = (), **members: Any
    ) -> None:
        """Send a request, with descriptors where there are some."""
        self.asked.add(method)
        message = {"jsonrpc": "2.0", "id": call_id, "method": method, **members}
        if params is not None:
            message["params"] = params
        if not fds:
            self.send(json.dumps(message).encode() + b"\n")
            return
        message["fds"] = len(fds)
        line = json.dumps(message).encode() + b"\n"
        sent = self.socket.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        self.send(line[sent:])

    def receive(self) -> Any:
        """Return the next message; its descriptors are appended to ``descriptors``."""
        while not self._lines:
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, 64)
            self.descriptors += fds
            if not data:
                return None
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return json.loads(self._lines.pop(0))

    def ask(
        self, method: str, params: Any = None, call_id: Any = 1, *, fds: Sequence[int] = (), **members: Any
    ) -> dict[str, Any]:
        """Send a request and return the final message with its id."""
        self.request(method, params, call_id, fds=fds, **members)
        return self.final(call_id)

    def result(self, method: str, params: Any = None, **members: Any) -> Any:
        """Return the result of a call that must succeed."""
        answer = self.ask(method, params, **members)
        assert "error" not in answer, f"{method} {str(params)[:300]}: {answer['error']}"
        return answer["result"]

    def refused(self, method: str, params: Any = None, **members: Any) -> dict[str, Any]:
        """Return the data of a call's error, with its code and message."""
        answer = self.ask(method, params, **members)
        assert "error" in answer, f"{method} {str(params)[:300]} was not refused: {str(answer)[:500]}"
        error = answer["error"]
        return {**error["data"], "code": error["code"], "message": error["message"]}

    def load(self, model: bytes | Path, **params: Any) -> int:
        """Load a model, its bytes or its file; return the context."""
        given: dict[str, Any] = {"model": {"data": b64(model)}} if isinstance(model, bytes) else {"model": str(model)}
        return int(self.result("rknn.init", given | params)["context"])

    def memory(self, context: int | None, content: bytes, **params: Any) -> int:
        """Make a tensor memory with this content; return its handle."""
        made = self.result("rknn.create_mem", {"ctx": context, "size": len(content), **params})["mem"]
        mode = "RKNN_MEMORY_SYNC_TO_DEVICE"
        self.result("rknn.mem_sync", {"mem": made, "mode": mode, "data": {"data": b64(content), "dtype": "uint8"}})
        return int(made)

    def contents(self, mem: int, **span: int) -> bytes:
        """Return what a tensor memory holds."""
        answer = self.result(
            "rknn.mem_sync", {"mem": mem, "mode": "RKNN_MEMORY_SYNC_FROM_DEVICE", "read": True, **span}
        )
        return base64.b64decode(answer["data"])

    def infer(self, data: Any, context: int | None = None, **params: Any) -> list[Array]:
        """Return the outputs of rknn.infer as arrays."""
        answer = self.result("rknn.infer", {"context": context, "inputs": data, **params})
        return [numbers(output) for output in answer["outputs"]]


def client(daemon: Daemon) -> Client:
    """Connect."""
    return Client(daemon.path)


def b64(data: bytes | Array) -> str:
    """Return the base64 of bytes or of an array's."""
    return base64.b64encode(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()).decode()


def tensor(values: Array) -> dict[str, Any]:
    """Return an array as JSON with base64."""
    assert values.dtype.name in _DTYPES
    return {"data": b64(values), "dtype": values.dtype.name, "shape": list(values.shape)}


def numbers(described: Mapping[str, Any]) -> Array:
    """Return a tensor of a result as an array."""
    given = np.frombuffer(base64.b64decode(described["data"]), described["dtype"])
    return given.reshape(described["shape"])


def memfd(content: bytes, seals: int = 0x2) -> int:
    """Return a memfd with this content, sealed against shrinking unless ``seals`` say otherwise."""
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, 1033, seals)
    return fd


@contextlib.contextmanager
def shared(content: bytes, seals: int = 0x2) -> Iterator[int]:
    """Give a memfd with this content and close it afterwards."""
    fd = memfd(content, seals)
    try:
        yield fd
    finally:
        os.close(fd)


def held(daemon: Daemon) -> dict[str, Any]:
    """Return what server.status shows of RKNN's objects."""
    with client(daemon) as wire:
        status = wire.result("server.status")
    return {name: status[name] for name in NOTHING}


def until_nothing_is_held(daemon: Daemon) -> None:
    """Wait until clients that went have left nothing."""
    until("no context, matmul or memory in server.status", lambda: held(daemon) == NOTHING)
    until("nothing is alive in the runtime", lambda: set(trace.live(daemon.trace()).values()) <= {0})


class Simulator:
    """A daemon on both simulators; the scenario of RKNN may be changed at any time."""

    def __init__(
        self, start: Start, directory: Path, *arguments: str, scenario: str = "", rknn: Mapping[str, Any] | None = None
    ) -> None:
        """``scenario`` is RKLLM's script, ``rknn`` that of RKNN."""
        directory.mkdir(exist_ok=True)
        self._script = directory / "rknn-scenario"
        self._judged = 0
        self.play(rknn or {})
        self.daemon = start(
            "--device-lost-lines",
            "false",
            *arguments,
            directory=directory,
            scenario=scenario,
            rknn_scenario=f"@{self._script}",
        )

    def play(self, scenario: Mapping[str, Any]) -> None:
        """Write the scenario: RKNN calls that begin from now on follow it."""
        beside = self._script.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in scenario.items()))
        beside.replace(self._script)

    @contextlib.contextmanager
    def playing(self, **scenario: Any) -> Iterator[None]:
        """Play a scenario within the block; ``delay__rknn_init`` stands for ``delay.rknn_init``.

        What ``hold__rknn_run=1`` holds is let go at the end of the block at the latest.
        """
        self.daemon.hold()
        self.play({key.replace("__", "."): value for key, value in scenario.items()})
        try:
            yield
        finally:
            self.play({})
            self.daemon.let_go()

    def client(self) -> Client:
        """Connect."""
        return client(self.daemon)

    def seen(self, event: str, function: str) -> list[str]:
        """Return the values of this event of this function, as the trace has them."""
        return [line[4] for line in self.daemon.trace() if line[2:4] == [event, function]]

    def wait_enter(self, function: str, count: int = 1) -> None:
        """Wait until the function was entered this often."""
        self.daemon.wait_enter(function, count)

    def settle(self) -> None:
        """Wait until clients that went have left nothing, and see that all was in order since the last time."""
        until_nothing_is_held(self.daemon)
        lines = self.daemon.trace()
        since, self._judged = self._judged, len(lines)
        found = trace.overlaps(lines[since:])
        assert not found, f"one NPU operation at a time: {found[:5]}"

    def clear(self) -> None:
        """Destroy what a test that failed has left behind although it said keep; begin with an empty scenario."""
        self.play({})
        with self.client() as wire:
            status = wire.result("server.status")
            for item in status["memories"]:
                wire.ask("rknn.destroy_mem", {"mem": item["mem"]})
            for item in status["matmuls"]:
                wire.ask("rknn.matmul_destroy", {"ctx": item["context"]})
            for item in status["contexts"]:
                wire.ask("rknn.destroy", {"context": item["context"]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.settle()


def operator_library() -> Path:
    """Return the plug-in with the operator Scale."""
    return build_operator(BUILD_DIRECTORY)
