"""server.metrics: what the daemon counts about itself, as families of OpenMetrics that somebody else renders."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import Json, JsonObject
from rkllmd.log import configuration
from rkllmd.metrics import family
from rkllmd.service.parts import Service

_MACHINE_SECONDS: Final = 0.1
_STATUSES: Final = ("queued", "processing", "completed", "error")


@method(Kind.INSTANT, repeatable=True)
def metrics(service: Service, invocation: Invocation) -> JsonObject:
    """Return all families; counters begin at 0 when the daemon starts."""
    return {"families": [*service.metrics.describe(), *_now(service), *_log(), *_machine(service)]}


def _now(service: Service) -> list[JsonObject]:
    """Return what can be counted at this moment."""
    jobs = Counter(call.status for call in service.detached_calls)
    return [
        _gauge("rkllmd_queue_length", "Calls that wait for the NPU.", len(service.npu.queue)),
        _gauge("rkllmd_connections", "Connected clients.", len(service.clients)),
        _gauge("rkllmd_sessions", "Conversations that are kept by name.", len(service.language.sessions.all)),
        family(
            "rkllmd_jobs",
            "gauge",
            "",
            "Jobs of server.submit that are kept, by their status.",
            [({"status": status}, jobs[status]) for status in _STATUSES],
        ),
        family("rkllmd_crashes", "counter", "", "Daemons that their keeper had to replace.", _crashes(service)),
    ]


def _crashes(service: Service) -> list[tuple[JsonObject, Json]]:
    """Return the count, which only a keeper knows."""
    last = service.crashes.fresh
    return [] if service.pid == os.getpid() else [({}, 0 if last is None else last["crashes"])]


def _log() -> list[JsonObject]:
    counts = configuration.describe()
    return [
        family(f"rkllmd_log_lines_{name}", "counter", "", text, [({}, counts[name])])
        for name, text in (
            ("dropped", "Lines of the log that nobody has read in time."),
            ("left_out", "Lines of the log that only repeated others."),
        )
    ]


def _machine(service: Service) -> list[JsonObject]:
    """Return what is read from the machine's files, at most a tenth of a second ago: a hundred clients may ask."""
    now = time.monotonic()
    if now - service.metered_at > _MACHINE_SECONDS:
        service.metered_at, service.metered = now, _read(service)
    return service.metered


def _read(service: Service) -> list[JsonObject]:
    memory = service.language.memory_guard.describe()
    group, frequency = memory["cgroup"] or {}, service.platform.npu_frequency()
    loads = enumerate(service.platform.npu_load() or ())
    return [
        *_bytes(
            ("memory_total", "Memory of the machine.", memory["total_bytes"] or None),
            ("memory_available", "Memory of the machine that can be had.", memory["available_bytes"] or None),
            ("daemon_resident", "Memory of the machine that the daemon has.", memory["daemon_resident_bytes"] or None),
            ("cgroup_limit", "Memory that the daemon's control group may have.", group.get("limit_bytes")),
            ("cgroup_available", "Memory that the daemon's control group can still get.", group.get("available_bytes")),
        ),
        family(
            "rkllmd_npu_load_ratio",
            "gauge",
            "ratio",
            "Load of each core of the NPU, or of all as core 0, as its driver says it.",
            [({"core": str(core)}, load / 100) for core, load in loads],
        ),
        _gauge("rkllmd_npu_frequency_hertz", "Clock of the NPU, which its cores share.", frequency, unit="hertz"),
        _gauge(
            "rkllmd_npu_temperature_celsius",
            "How hot the NPU is, or the SoC where that has no sensor of its own for it.",
            service.platform.npu_temperature(),
            unit="celsius",
        ),
        _gauge("rkllmd_open_descriptors", "Files that the daemon has open.", _open_descriptors()),
        _gauge(
            "rkllmd_max_descriptors",
            "Files that the daemon may have open.",
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        ),
    ]


def _open_descriptors() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # without the one that lists them
    except OSError:  # no descriptor is left
        return None


def _bytes(*found: tuple[str, str, Json]) -> Iterable[JsonObject]:
    return [_gauge(f"rkllmd_{name}_bytes", text, value, unit="bytes") for name, text, value in found]


def _gauge(name: str, text: str, value: Json, unit: str = "") -> JsonObject:
    """Return a family with one value; without a sample if that is not known."""
    return family(name, "gauge", unit, text, [] if value is None else [({}, value)])
