"""The parts of the daemon, all in one object: the daemon's own methods and the dispatch of all calls work with it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import field
from functools import cached_property

from rkllmd.calls.declaration import Method, Part
from rkllmd.calls.detached.calls import DetachedCalls
from rkllmd.calls.handles import Live, Registry
from rkllmd.calls.invocation import Client
from rkllmd.calls.timeouts import Timeouts
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.json_types import JsonObject
from rkllmd.language.parts import Language
from rkllmd.machine.platform import Platform
from rkllmd.metrics import OTHER, Metrics
from rkllmd.npu.worker import Npu
from rkllmd.quick_dataclass import dataclass
from rkllmd.service.crashes import Crashes
from rkllmd.service.events import Events
from rkllmd.service.long_requests import LongRequests
from rkllmd.store import learned
from rkllmd.store.store import Store
from rkllmd.vision.parts import Vision
from rkllmd.wire.budget import Bounds, Budget

# What requests may take unless it is configured, and at most which part of all memory.
_USUAL_REQUEST_MEMORY = 2**29
_PART_FOR_REQUESTS = 4


@dataclass(eq=False)
class Service:
    """All parts. One exists per process."""

    current: CurrentConfig
    language: Language
    vision: Vision
    platform: Platform
    npu: Npu
    store: Store
    methods: dict[str, Method]
    timeouts: Timeouts
    # Schedules a function on the event loop, from any thread.
    run_soon: Callable[[Callable[[], None]], None]
    events: Events = field(init=False)
    long_requests: LongRequests = field(default_factory=LongRequests)
    budget: Budget = field(init=False)
    crashes: Crashes = field(init=False)
    started_at: float = field(default_factory=time.monotonic)
    # The process that is to be stopped: the keeper's, where there is one.
    pid: int = field(default_factory=os.getpid)
    # What server.status has read from the machine's files, and when (monotonic).
    machine: JsonObject = field(default_factory=dict)
    machine_read_at: float = -math.inf
    # The same of server.metrics.
    metered: list[JsonObject] = field(default_factory=list)
    metered_at: float = -math.inf

    def __post_init__(self) -> None:
        self.crashes = Crashes(learned.last_crash(self.store))
        self.events = Events(self.npu, self.crashes, self.describe_models)
        self.budget = Budget(self._bounds, lambda user: self.config.is_operator(user))

    @property
    def config(self) -> Config:
        """Return the configuration in force."""
        return self.current.config

    @property
    def clients(self) -> dict[int, Client]:
        """Return the connected clients by their numbers."""
        return self.language.clients

    def describe_models(self) -> JsonObject:
        """Return which models there are, and which daemon says so: it gives each handle once."""
        now = time.monotonic()
        return {
            "models": [model.describe(now) for model in self.language.models],
            "declared": [model.name for model in self.config.models],
            "declared_models": [model.describe() for model in self.config.models],
            "daemon_pid": os.getpid(),
        }

    @property
    def metrics(self) -> Metrics:
        """Return what is counted."""
        return self.npu.metrics

    def count_call(self, method: str, outcome: str) -> None:
        """Count a call that is answered; ``outcome``: ok, or the kind of its error."""
        # A client may call whatever it likes.
        self.npu.metrics.calls.add(method if method in self.methods else OTHER, outcome)

    @property
    def detached_calls(self) -> DetachedCalls:
        """Return the calls that no connection waits for."""
        return self.language.detached_calls

    @cached_property
    def handles(self) -> dict[str, Registry[Live]]:
        """Return the live objects by the type of their handles."""
        return {
            "llm": self.language.models,
            "context": self.vision.contexts,
            "matmul": self.vision.matmuls,
            "memory": self.vision.memories,
        }

    @cached_property
    def _usual_request_memory(self) -> int:
        total = self.platform.memory()["total_bytes"]  # 0: this machine does not say
        return min(_USUAL_REQUEST_MEMORY, total // _PART_FOR_REQUESTS) if total else _USUAL_REQUEST_MEMORY

    def _bounds(self) -> Bounds:
        most = self.config.request_memory_bytes or self._usual_request_memory
        return Bounds(most, self.config.max_values_per_request)

    def belongs_anything_to(self, client: int) -> bool:
        """Return whether something would go with this client: an object of RKNN, or a conversation."""
        return any(handles.owned_by(client) for handles in self.handles.values()) or any(
            model.kv_cache.owner == client and model.kv_cache.holds_words for model in self.language.models
        )

    def own(self, method: Method) -> Language | Vision | Service:
        """Return the part that a method works with: the first argument of its functions."""
        if method.part is Part.LANGUAGE:
            return self.language
        return self.vision if method.part is Part.VISION else self
