"""What the RKNN methods work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from rkllmd.calls.handles import Handles
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.json_types import JsonObject
from rkllmd.machine.board import Board
from rkllmd.machine.memory.guard import MemoryGuard
from rkllmd.npu.worker import Npu
from rkllmd.quick_dataclass import dataclass
from rkllmd.trials.trial import Trials
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.runtime import RknnRuntime


@dataclass(eq=False)
class Vision:
    """RKNN's contexts, matmul contexts and tensor memories, and all that is needed for them. One exists per process."""

    current: CurrentConfig
    runtime: RknnRuntime
    npu: Npu
    board: Board
    memory_guard: MemoryGuard
    # Schedules a function on the event loop, from any thread.
    run_soon: Callable[[Callable[[], None]], None]
    trials: Trials
    contexts: Handles[Context] = field(default_factory=lambda: rknn_contexts())
    matmuls: Handles[Matmul] = field(default_factory=lambda: Handles("matmul context", "rknn.matmul_create"))
    memories: Handles[TensorMemory] = field(default_factory=lambda: Handles("tensor memory", "rknn.create_mem"))
    # Memories without handles that C has still, since there was no context to free them by.
    left_memories: list[TensorMemory] = field(default_factory=list)
    # The encoders of the configuration that are loaded, by their paths (encoders.py): they have no handles.
    encoders: dict[str, Context] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self.current.config


def rknn_contexts() -> Handles[Context]:
    """Return handles for contexts, none of which exists yet."""
    return Handles("RKNN context", "rknn.init")


def loaded(contexts: Handles[Context]) -> list[JsonObject]:
    """Return the contexts that take memory, in the form in which OutOfMemory lists them."""
    return [{"context": item.number, "model_path": item.path, "size_bytes": item.size_bytes} for item in contexts]
