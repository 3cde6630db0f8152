"""What a method may use: the parts of the daemon, and who is calling."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rkllmd import jsonrpc
from rkllmd.config import Config
from rkllmd.errors import RpcError
from rkllmd.handles import Handles, Model
from rkllmd.npu import Job, Npu
from rkllmd.platform import Platform
from rkllmd.runtime import Runtime

if TYPE_CHECKING:
    from rkllmd.method import Method


@dataclass(eq=False)
class Context:
    """The parts of the daemon. One exists per process."""

    config: Config
    runtime: Runtime
    platform: Platform
    npu: Npu
    methods: dict[str, Method]
    # Schedules a function on the event loop, from any thread.
    run_soon: Callable[[Callable[[], None]], None]
    models: Handles[Model] = field(default_factory=lambda: Handles("language model"))
    clients: dict[int, Client] = field(default_factory=dict)
    started_at: float = field(default_factory=time.monotonic)


class Client(Protocol):
    """The connection behind a call, as far as a method may know it."""

    number: int

    def describe(self) -> str:
        """Return who it is, for the log and server.queue."""

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        """Return the queued or running job of the request with this id."""

    def send_partials(self, call: jsonrpc.Call, partials: list[dict[str, Any]], *, as_notifications: bool) -> None:
        """Send partial results of ``call``."""

    def send_partial_now(self, call: jsonrpc.Call, partial: dict[str, Any], *, as_notification: bool) -> bool:
        """Send one partial result from any thread, if that needs no waiting; false if it was not sent."""

    def answer(self, call: jsonrpc.Call, result: Any) -> None:
        """Send the call's result."""

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Send the call's error."""


@dataclass(eq=False, slots=True)
class Invocation:
    """One call of a method: the daemon's parts, the client, the request, and its job once it is queued."""

    context: Context
    client: Client
    call: jsonrpc.Call
    method: Method
    job: Job | None = None

    @property
    def runtime(self) -> Runtime:
        """Return the runtime in use."""
        return self.context.runtime

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the client has given the call up."""
        return self.job is not None and self.job.cancelled
