"""One call of a method, and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from rkllmd.abi.json.tensors import tensor_to_json
from rkllmd.interruption import Interruption
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine import shared_memory
from rkllmd.npu.job import Job
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire import jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors

if TYPE_CHECKING:
    from rkllmd.calls.declaration import Method
    from rkllmd.errors import RpcError

# The kernel takes 253 in one message (SCM_MAX_FD).
_MOST_FDS: Final = 253


class Client(Protocol):
    """Whoever makes a call: a connection, or a detached call, as far as a method may know it."""

    number: int
    # The uid of its process; None for the daemon itself.
    user: int | None
    # The gids of its process.
    groups: frozenset[int]
    # Its process, as far as that is known and still means something.
    pid: int | None

    def describe(self) -> str:
        """Return who it is, for the log and server.queue."""

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        """Return the queued or running job of the request with this id."""

    def send_partials(self, call: jsonrpc.Call, partials: list[JsonObject], *, as_notifications: bool) -> None:
        """Send partial results of ``call``."""

    def partial_sender(self, call: jsonrpc.Call, *, as_notifications: bool) -> Callable[[JsonObject], bool]:
        """Return a function that sends one partial result, on any thread; it returns false if it would have to wait."""

    def answer(self, call: jsonrpc.Call, result: Json, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Send the call's result with file descriptors, which are closed when they are sent."""

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        """Send the call's error."""

    def notify(self, line: bytes) -> None:
        """Send a notification that belongs to no call (``jsonrpc.notification``)."""


@dataclass(eq=False, slots=True)
class Invocation:
    """One call of a method: the client, the request, and its job once it is queued."""

    client: Client
    call: jsonrpc.Call
    method: Method
    job: Job | None = None
    # The descriptors that go with the result; closed by whoever sends it.
    fds: Descriptors = NO_DESCRIPTORS
    # Makes its work end early, if the RKNN runtime can be interrupted.
    interruption: Interruption | None = None

    def tensor(self, data: bytes | memoryview, shape: Sequence[int], dtype: str) -> JsonObject:
        """Return a tensor as the client wants it: by file descriptor if it said reply_fds, as base64 otherwise."""
        if not self.call.members.reply_fds or len(self.fds) == _MOST_FDS:
            return tensor_to_json(data, shape, dtype)
        return self.attach(shared_memory.make(data), size=len(data), dtype=dtype, shape=list(shape))

    def attach(self, fd: int, **members: Json) -> JsonObject:
        """Own a descriptor from now on, and send it with the result; return how the result refers to it."""
        if self.fds is NO_DESCRIPTORS:
            self.fds = Descriptors()
        self.fds.add(fd)
        return {"fd": len(self.fds) - 1, **members}

    @property
    def is_cancelled(self) -> bool:
        """Return whether the client has given the call up."""
        return self.job is not None and self.job.cancelled
