"""What the language methods work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from rkllmd.calls.detached.calls import DetachedCalls
from rkllmd.calls.handles import Handles
from rkllmd.calls.invocation import Client
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.json_types import JsonObject
from rkllmd.language.chats.kept import KeptChats
from rkllmd.language.model import Model
from rkllmd.language.out_of_turn.states import States
from rkllmd.language.pictures import Pictures
from rkllmd.language.prompt_caches.saved import SavedCaches
from rkllmd.language.prompt_caches.store import PromptCaches
from rkllmd.language.remembered import RememberedModels
from rkllmd.language.runtime import Runtime
from rkllmd.language.sessions.sessions import Sessions
from rkllmd.machine.board import Board
from rkllmd.machine.memory.guard import MemoryGuard
from rkllmd.npu.worker import Npu
from rkllmd.quick_dataclass import dataclass
from rkllmd.trials.trial import Trials


@dataclass(eq=False)
class Language:
    """The language models and all that is needed to load and run them. One exists per process."""

    current: CurrentConfig
    runtime: Runtime
    npu: Npu
    board: Board
    memory_guard: MemoryGuard
    # Schedules a function on the event loop, from any thread.
    run_soon: Callable[[Callable[[], None]], None]
    trials: Trials
    prompt_caches: PromptCaches = field(default_factory=PromptCaches)
    saved_caches: SavedCaches = field(default_factory=SavedCaches)
    # The clients that are connected, and the calls that go on without a connection: these can still be told something.
    clients: dict[int, Client] = field(default_factory=dict)
    detached_calls: DetachedCalls = field(default_factory=DetachedCalls)
    # The clients whose conversation was lost with a model that another client unloaded, and who do not know it yet.
    unaware: set[int] = field(default_factory=set)
    models: Handles[Model] = field(default_factory=lambda: language_models())
    sessions: Sessions = field(default_factory=Sessions)
    # The conversations of which the cache is kept while others have the model, and what the portable runtime's held.
    kept_chats: KeptChats = field(default_factory=KeptChats)
    states: States = field(init=False)
    remembered: RememberedModels = field(default_factory=RememberedModels)
    pictures: Pictures = field(default_factory=Pictures)

    def __post_init__(self) -> None:
        self.states = States(self.prompt_caches, lambda: [model.prompt_cache for model in self.models])

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self.current.config


def language_models() -> Handles[Model]:
    """Return handles for language models, none of which exists yet."""
    return Handles("language model")


def loaded(models: Handles[Model]) -> list[JsonObject]:
    """Return the models that take memory, in the form in which OutOfMemory lists them."""
    return [
        {"handle": model.number, "model_path": model.path, "size_bytes": model.size_bytes}
        for model in models
        if not model.is_asleep
    ]
