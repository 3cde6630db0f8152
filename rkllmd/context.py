"""What a method may use: the parts of the daemon, and who is calling."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from rkllmd import jsonrpc, rknn_handles, shared_memory
from rkllmd.abi.tensors import tensor_to_json
from rkllmd.config import Config
from rkllmd.deadlines import Timeouts
from rkllmd.errors import RpcError
from rkllmd.events import Events
from rkllmd.handles import Handles, Model
from rkllmd.interruption import Interruption
from rkllmd.jobs import Jobs
from rkllmd.memory import Footprints
from rkllmd.npu import Job, Npu
from rkllmd.platform import Platform
from rkllmd.prompt_caches import PromptCaches
from rkllmd.rknn_runtime import RknnRuntime
from rkllmd.runtime import Runtime
from rkllmd.sessions import Sessions
from rkllmd.soc import Board
from rkllmd.trial import Trials

if TYPE_CHECKING:
    from rkllmd.method import Method
    from rkllmd.streaming import Generation


# The kernel takes 253 in one message (SCM_MAX_FD).
_MOST_FDS = 253


@dataclass(eq=False)
class Context:
    """The parts of the daemon. One exists per process."""

    config: Config
    runtime: Runtime
    rknn_runtime: RknnRuntime
    platform: Platform
    npu: Npu
    methods: dict[str, Method]
    timeouts: Timeouts
    # Schedules a function on the event loop, from any thread.
    run_soon: Callable[[Callable[[], None]], None]
    models: Handles[Model] = field(default_factory=lambda: Handles("language model"))
    contexts: Handles[rknn_handles.Context] = field(default_factory=lambda: Handles("RKNN context", "rknn.init"))
    matmuls: Handles[rknn_handles.Matmul] = field(
        default_factory=lambda: Handles("matmul context", "rknn.matmul_create")
    )
    memories: Handles[rknn_handles.Memory] = field(default_factory=lambda: Handles("tensor memory", "rknn.create_mem"))
    clients: dict[int, Client] = field(default_factory=dict)
    # Whose conversation went with a model that another has unloaded, and who does not know it yet.
    untold: set[int] = field(default_factory=set)
    sessions: Sessions = field(default_factory=Sessions)
    jobs: Jobs = field(default_factory=Jobs)
    events: Events = field(init=False)
    footprints: Footprints = field(default_factory=lambda: Footprints(None))
    trials: Trials = field(default_factory=lambda: Trials(None))
    board: Board = field(default_factory=Board)
    prompt_caches: PromptCaches = field(default_factory=PromptCaches)
    started_at: float = field(default_factory=time.monotonic)
    # What server.status has read from the machine's files, and when (monotonic).
    machine: dict[str, Any] = field(default_factory=dict)
    machine_read_at: float = -math.inf

    def __post_init__(self) -> None:
        self.events = Events(self.npu)

    @cached_property
    def handles(self) -> dict[str, Handles[Any]]:
        """Return the live objects by the kind of their handles."""
        return {"llm": self.models, "context": self.contexts, "matmul": self.matmuls, "memory": self.memories}


class Client(Protocol):
    """The connection behind a call, as far as a method may know it."""

    number: int
    # The uid of its process; None for the daemon itself.
    user: int | None

    def describe(self) -> str:
        """Return who it is, for the log and server.queue."""

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        """Return the queued or running job of the request with this id."""

    def send_partials(self, call: jsonrpc.Call, partials: list[dict[str, Any]], *, as_notifications: bool) -> None:
        """Send partial results of ``call``."""

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[dict[str, Any]], bool]:
        """Return what sends one partial result from any thread, if that needs no waiting; it is false if not."""

    def answer(self, call: jsonrpc.Call, result: Any, fds: Sequence[int] = ()) -> None:
        """Send the call's result with file descriptors, which are closed when they are sent."""

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Send the call's error."""

    def notify(self, line: bytes) -> None:
        """Send a notification that belongs to no call (``jsonrpc.notification``)."""


@dataclass(eq=False, slots=True)
class Invocation:
    """One call of a method: the daemon's parts, the client, the request, and its job once it is queued."""

    context: Context
    client: Client
    call: jsonrpc.Call
    method: Method
    job: Job | None = None
    # The run that the call is, from its begin on.
    generation: Generation | None = None
    # What goes with the result; closed by whoever sends it.
    fds: list[int] = field(default_factory=list)
    # What makes its work end early, where the RKNN runtime can be interrupted.
    interruption: Interruption | None = None

    @property
    def rknn(self) -> RknnRuntime:
        """Return the RKNN runtime in use."""
        return self.context.rknn_runtime

    def tensor(self, data: bytes | memoryview, shape: Sequence[int], dtype: str) -> dict[str, Any]:
        """Return a tensor as the client wants it: by file descriptor if it said reply_fds, as base64 otherwise."""
        if not self.call.members.get("reply_fds") or len(self.fds) == _MOST_FDS:
            return tensor_to_json(data, shape, dtype)
        return self.attach(shared_memory.make(data), size=len(data), dtype=dtype, shape=list(shape))

    def attach(self, fd: int, **members: Any) -> dict[str, Any]:
        """Send a descriptor along, which is the invocation's from now on; return how the result refers to it."""
        self.fds.append(fd)
        return {"fd": len(self.fds) - 1, **members}

    def close_fds(self) -> None:
        """Close what will not be sent."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    @property
    def runtime(self) -> Runtime:
        """Return the runtime in use."""
        return self.context.runtime

    @property
    def is_cancelled(self) -> bool:
        """Tell whether the client has given the call up."""
        return self.job is not None and self.job.cancelled
