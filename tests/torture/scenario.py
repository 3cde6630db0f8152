"""What the clients do while something fails: a bit of everything, the same each time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.daemon import Daemon
from tests.server.descriptors.tensors import SIZE, FdWire, closing, memfd, picture
from tests.wire_connection import kind

# Whoever waits longer for an answer waits for ever.
_HANG_SECONDS: Final = 30.0
# How an outcome begins that is a fault of the daemon whatever has failed.
WRONG: Final = "wrong"


class Ended(Exception):
    """The connection has ended before the answer came."""


class Client:
    """Asks one thing after the other; a connection that has ended is replaced."""

    def __init__(self, path: str) -> None:
        self.ended = 0
        self._path = path
        self._wire: FdWire | None = None
        self._sent = 0

    def close(self) -> None:
        """Leave."""
        if self._wire is not None:
            self._wire.__exit__()
            self._wire = None

    def ask(self, method: str, params: Any = None, fds: tuple[int, ...] = (), **members: Any) -> dict[str, Any]:
        """Return the answer: exactly one, after its partial results. Raises Ended, and AssertionError for none."""
        self._sent += 1
        try:
            if self._wire is None:
                self._wire = FdWire(self._path)
                self._wire.socket.settimeout(_HANG_SECONDS)
            return dict(self._wire.call(method, params, fds, self._sent, **members))
        except TimeoutError:
            self.close()
            raise AssertionError(f"{method} is not answered") from None
        except (AssertionError, BrokenPipeError, ConnectionError) as error:
            if isinstance(error, AssertionError) and "closed" not in str(error):
                raise
        self.close()
        self.ended += 1
        raise Ended

    def close_fds(self) -> None:
        """Close the descriptors that came."""
        if self._wire is not None:
            self._wire.close_fds()


def play(daemon: Daemon) -> list[str]:
    """Do it all; return how each step ended: ``result``, the kind of the error, or ``ended`` with the connection."""
    client = Client(daemon.path)
    outcomes: list[str] = []
    try:
        for step in _STEPS:
            outcomes.extend(_outcome(ask) for ask in step(client, daemon))
    finally:
        client.close()
    return outcomes


def _outcome(ask: Callable[[], dict[str, Any]]) -> str:
    try:
        return kind(ask()) or "result"
    except Ended:
        return "ended"
    except AssertionError as error:
        return f"{WRONG}: {error}"


Steps = Iterator[Callable[[], dict[str, Any]]]


def _language(client: Client, daemon: Daemon) -> Steps:
    model = {"model_path": str(daemon.model)}
    yield lambda: client.ask("server.status")
    yield lambda: client.ask("rkllm.init", model)
    yield lambda: client.ask("rkllm.run_async", {"prompt": "Hello"})
    yield lambda: client.ask("rkllm.run", {"prompt": "Hello"}, session="kitchen")
    save = {"save_prompt_cache": 1, "prompt_cache_path": "kept"}
    yield lambda: client.ask("rkllm.run", {"prompt": "Hello", "prompt_cache_params": save})
    yield lambda: client.ask("rkllm.clear_kv_cache", [None, 1])


def _jobs(client: Client, daemon: Daemon) -> Steps:
    jobs: list[str] = []

    def submit() -> dict[str, Any]:
        answer = client.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}})
        jobs.extend([] if kind(answer) else [answer["result"]["job"]])
        return answer

    def take() -> dict[str, Any]:
        deadline = time.monotonic() + _HANG_SECONDS
        while True:
            answer = client.ask("server.job", {"job": jobs[0]})
            if kind(answer) is not None or answer["result"]["status"] not in ("queued", "processing"):
                return answer
            assert time.monotonic() < deadline, f"the job does not end: {answer}"

    yield submit
    if jobs:
        yield take
        yield lambda: client.ask("server.job", {"job": jobs[0], "forget": True})


def _vision(client: Client, daemon: Daemon) -> Steps:
    made: dict[str, Any] = {}

    def load() -> dict[str, Any]:
        answer = client.ask("rknn.init", {"model_path": str(daemon.model)})
        made["context"] = answer.get("result", {}).get("context")
        return answer

    def infer() -> dict[str, Any]:
        params = {"context": made.get("context"), "inputs": {"fd": 0, "size": SIZE}}
        with closing(memfd(picture(1))) as fds:
            answer = client.ask("rknn.infer", params, tuple(fds), reply_fds=True)
        client.close_fds()
        return answer

    def refuse() -> dict[str, Any]:
        """Send what is no memory. A thread of the daemon closes it, which begins with the first and stays."""
        with closing(os.open(os.devnull, os.O_RDONLY)) as fds:
            answer = client.ask("rknn.infer", {"context": made.get("context"), "inputs": {"fd": 0}}, tuple(fds))
        return {"result": None} if kind(answer) == "InvalidParams" else answer

    def make() -> dict[str, Any]:
        answer = client.ask("rknn.create_mem", {"ctx": made.get("context"), "size": 4096})
        made["mem"] = answer.get("result", {}).get("mem")
        return answer

    yield load
    yield infer
    yield refuse
    yield make
    sync = {"mode": "RKNN_MEMORY_SYNC_TO_DEVICE", "data": [1, 2, 3], "dtype": "uint8"}
    yield lambda: client.ask("rknn.mem_sync", {"mem": made.get("mem"), **sync})
    yield lambda: client.ask("rknn.destroy_mem", {"mem": made.get("mem")})
    yield lambda: client.ask("rknn.destroy", [made.get("context")])


def _leave(client: Client, daemon: Daemon) -> Steps:
    yield lambda: client.ask("server.drop_prompt_cache", {"name": "kept"})
    yield lambda: client.ask("server.drop_session", {"name": "kitchen"})
    yield lambda: client.ask("rkllm.destroy")


_STEPS: Final = (_language, _jobs, _vision, _leave)
