"""Makes the parts of the daemon, each with all that it works with, and gives them what a reload has changed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial

import trio

from rkllmd.calls import registry, timeouts
from rkllmd.calls.declaration import Method
from rkllmd.calls.detached.calls import DetachedCalls
from rkllmd.calls.handles import Handles
from rkllmd.calls.timeouts import Timeouts
from rkllmd.config import quotas
from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.config.values import is_on
from rkllmd.language import parts as language_parts
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.language.pictures import Pictures
from rkllmd.language.prompt_caches.saved import SavedCaches
from rkllmd.language.prompt_caches.store import PromptCaches
from rkllmd.language.remembered import RememberedModels
from rkllmd.language.runtime import Runtime
from rkllmd.language.sessions.sessions import Sessions
from rkllmd.machine import board, paths
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.machine.memory.guard import Footprints, MemoryGuard
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.npu import outage
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.worker import Npu
from rkllmd.portable.rknn.models import arena
from rkllmd.service.parts import Service
from rkllmd.store import learned, old_files
from rkllmd.store.jobs import KeptJobs
from rkllmd.store.models import KeptModels
from rkllmd.store.opening import open_store
from rkllmd.store.sessions import KeptSessions
from rkllmd.store.store import Store
from rkllmd.trials.quarantine import Quarantine
from rkllmd.trials.trial import Trials
from rkllmd.vision import parts as vision_parts
from rkllmd.vision.encoders import Encoders
from rkllmd.vision.objects import Context
from rkllmd.vision.parts import Vision
from rkllmd.vision.runtime import RknnRuntime


def assemble(
    config: Config,
    queue: Queue,
    *,
    printed: int,
    when_handled: Callable[[Callable[[], None]], None],
    on_outage: Callable[[Outage | None], None],
    on_given_up: Callable[[Outage], None],
    pid: int,
    journal: CrashJournal | None = None,
) -> Service:
    """Make the parts; called on the event loop.

    ``queue``, ``when_handled``, ``on_outage`` and ``on_given_up`` are the NPU's; ``printed`` is where what the runtimes
    print is read, ``pid`` the process that is to be stopped, ``journal`` what outlives this one.

    Raises ConfigError.
    """
    platform, current, store = Platform(), CurrentConfig(config), _store(config)
    methods = registry.known()
    timeouts.check(config, methods)
    limits, run_soon = Timeouts(current), _run_soon(trio.lowlevel.current_trio_token())
    npu = Npu(
        queue,
        Durations(learned.durations(store)),
        own_deadlines=limits.own,
        patience=lambda: current.config.grace_ms / 1000,
        when_handled=when_handled,
        on_outage=on_outage,
        signs=platform.signs_of_life,
        outage_patience=lambda: current.config.device_lost_seconds or math.inf,
        on_given_up=on_given_up,
        journal=journal,
    )
    output = RuntimeOutput(printed, partial(_look_at_line, current, npu.supervisor, run_soon), npu.journal)
    rkllm, rknn = Runtime(config, platform, output), RknnRuntime(config, platform, output)
    models, contexts = language_parts.language_models(), vision_parts.rknn_contexts()
    its_board, trials = board.decide(config, platform), _trials(store)
    guard = _guard(current, platform, store, models, contexts)
    language = Language(
        current,
        rkllm,
        npu,
        its_board,
        guard,
        run_soon,
        trials,
        PromptCaches(config.cache_directory, config.cache_bytes),
        SavedCaches(learned.saved_caches(store), lambda user: current.config.is_operator(user)),
        detached_calls=DetachedCalls(KeptJobs(store)),
        models=models,
        sessions=Sessions(kept=KeptSessions(store)),
        remembered=RememberedModels(KeptModels(store)),
    )
    vision = Vision(current, rknn, npu, its_board, guard, run_soon, trials, contexts)
    language.pictures = Pictures(Encoders(vision))
    _declare_functions(methods, rkllm, rknn)
    service = Service(current, language, vision, platform, npu, store, methods, limits, run_soon, pid=pid)
    apply(service)
    return service


def _trials(store: Store) -> Trials:
    return Trials(learned.verdicts(store), Quarantine(learned.crashes(store)))


def _declare_functions(methods: dict[str, Method], rkllm: Runtime, rknn: RknnRuntime) -> None:
    if rkllm.is_usable:
        registry.declare_functions(methods, "rkllm", rkllm.library)
    if rknn.is_usable:
        registry.declare_functions(methods, "rknn", rknn.library)


def _guard(
    current: CurrentConfig, platform: Platform, store: Store, models: Handles[Model], contexts: Handles[Context]
) -> MemoryGuard:
    loaded = [partial(language_parts.loaded, models), partial(vision_parts.loaded, contexts)]
    guard = MemoryGuard(current, platform, Footprints(learned.footprints(store)), loaded)
    arena.bound_by(guard.left_bytes)
    return guard


def _store(config: Config) -> Store:
    store = open_store(config.state_directory)
    old_files.take_over(store, config.state_directory)
    if store.path is not None:
        paths.keep_private(store.path)
    return store


def apply(service: Service) -> None:
    """Give the parts the settings in force that they do not look up themselves."""
    config, language = service.config, service.language
    service.npu.queue.limits = queue_limits(config)
    service.npu.boundaries.seconds = _boundary_seconds(config, language.runtime, service.vision.runtime)
    language.prompt_caches.limit_bytes = config.cache_bytes
    language.states.limit_bytes = config.session_memory_bytes
    language.saved_caches.most_bytes = config.saved_cache_bytes
    language.saved_caches.most_bytes_of_user = config.saved_cache_bytes_per_user


def queue_limits(settings: Config) -> Limits:
    """Return how many calls may wait for the NPU."""
    return Limits(
        settings.max_queue,
        settings.max_calls_per_connection,
        settings.max_calls_per_user,
        quotas.usual_reserve(settings.max_queue),
        settings.is_operator,
    )


def _boundary_seconds(config: Config, rkllm: Runtime, rknn: RknnRuntime) -> float:
    """Return for how long RKNN calls may begin to run at one token; 0: not at all."""
    can_share = "vendor" not in {rkllm.name, rknn.name}
    return config.between_tokens_ms / 1000 if is_on(config.between_tokens, automatically=can_share) else 0.0


def _look_at_line(
    current: CurrentConfig, supervisor: Supervisor, run_soon: Callable[[Callable[[], None]], None], line: str
) -> None:
    """Look whether a line that a runtime has printed means a stuck NPU; on any thread."""
    config = current.config
    found = outage.from_line(line, config.device_retry_seconds) if config.device_lost_lines else None
    if found is not None:
        run_soon(partial(supervisor.suspect, found))


def _run_soon(token: trio.lowlevel.TrioToken) -> Callable[[Callable[[], None]], None]:
    def run_soon(function: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # it may be a last callback while the daemon leaves
            token.run_sync_soon(function)

    return run_soon
