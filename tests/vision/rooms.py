"""RKNN's side with a runtime that notes its calls, and answers as a test says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rkllmd.calls.invocation import Invocation
from rkllmd.config.settings import Config
from rkllmd.errors import RuntimeFailure
from rkllmd.interruption import Interruption
from rkllmd.npu.job import Job
from rkllmd.npu.queue import Limits, Queue
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision

NOTHING: Any = None
# Whose all calls and objects are: no operator.
USER = 50_001


class Runtime:
    """A runtime in words: which functions were called, and which of them fail."""

    def __init__(self, name: str = "vendor") -> None:
        self.name = name
        self.called: list[str] = []
        self.fails: dict[str, int] = {}
        # Called before a function returns.
        self.during: dict[str, Callable[[], None]] = {}

    @property
    def can_be_interrupted(self) -> bool:
        """Return what the real one says."""
        return self.name == "portable"

    def call(self, function: str, *_: object, on: object = None) -> None:
        """Note the call. Raises RuntimeFailure where the test says so."""
        self.called.append(function)
        self.during.get(function, lambda: None)()
        if function in self.fails:
            raise RuntimeFailure(f"{function} failed.", function=function, status=self.fails[function], log=[])


class Npu:
    """A queue without a worker: what the daemon submits is noted."""

    def __init__(self) -> None:
        self.queue = Queue(Limits(9, 9, 9))
        self.submitted: list[Job] = []

    def submit(self, job: Job) -> None:
        """Note a job."""
        self.submitted.append(job)


class Room(Vision):
    """Vision with such a runtime; what is for the event loop is done at once."""

    runtime: Any
    npu: Any

    def __init__(self, name: str = "vendor") -> None:
        current: Any = SimpleNamespace(config=Config())
        runtime: Any = Runtime(name)
        npu: Any = Npu()
        self.soon: list[Callable[[], None]] = []
        super().__init__(current, runtime, npu, NOTHING, NOTHING, self.soon.append, NOTHING)

    def context(self, owner: int | None = 1, *, is_running: bool = False) -> Context:
        """Return a loaded model."""
        made = Context("/m.rknn", 10, 0)
        made.pointer.value = 1
        made.is_running = is_running
        made.user = USER
        made.number = self.contexts.add(made, owner)
        return made

    def matmul(self, owner: int | None = 1) -> Matmul:
        """Return a matmul context."""
        made = Matmul([], [], 1)
        made.pointer.value = 1
        made.user = USER
        made.number = self.matmuls.add(made, owner)
        return made

    def memory(self, parent: Context | Matmul | None = None, owner: int | None = 1) -> TensorMemory:
        """Return a tensor memory."""
        pointer: Any = True
        made = TensorMemory(parent, pointer, 64)
        made.user = USER
        made.number = self.memories.add(made, owner)
        return made


def invocation(
    *, client: int = 1, target: object = None, interruption: Interruption | None = None, deadlines: Any = None
) -> Invocation:
    """Return a call of a client on a context."""
    whose: Any = SimpleNamespace(number=client, user=USER)
    job = Job("rknn.wait", lambda: None, lambda _: None, client=whose, target=target, deadlines=deadlines)
    return Invocation(whose, NOTHING, NOTHING, job, interruption=interruption)
