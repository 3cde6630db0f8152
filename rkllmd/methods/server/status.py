"""server.status: what the daemon is doing, what is loaded, what it runs on."""

from __future__ import annotations

import time
from typing import Final

import orjson

from rkllmd import __version__
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.log import configuration
from rkllmd.machine.platform import machine
from rkllmd.npu import views
from rkllmd.npu.views import describe_client, elapsed_ms
from rkllmd.service.parts import Service
from rkllmd.vision import objects

_MACHINE_SECONDS: Final = 0.1


@method(Kind.INSTANT, repeatable=True)
def status(service: Service, invocation: Invocation) -> JsonObject:
    """Return the state; none of it needs a call into the runtime, so it can be answered at any time."""
    now = time.monotonic()
    outage = service.npu.supervisor.outage
    return {
        "state": service.npu.state,
        "current": _current(service, now),
        "device_lost": None if outage is None else outage.describe(now),
        "queue_length": len(service.npu.queue),
        **service.describe_models(),
        "contexts": [_context(item) for item in service.vision.contexts],
        "matmuls": [
            {"context": item.number, "shape": item.shapes[item.shape_index]} for item in service.vision.matmuls
        ],
        "memories": [
            {"mem": item.number, "size": item.size, "context": item.parent.number if item.parent else None}
            for item in service.vision.memories
        ],
        "clients": len(service.clients),
        "pid": service.pid,
        "uptime_s": round(now - service.started_at, 1),
        "store": service.store.describe(),
        "last_crash": service.crashes.last,
        "log": configuration.describe(),
        **_machine(service, now),
    }


def _machine(service: Service, now: float) -> JsonObject:
    """Return what is read from the machine's files, at most a tenth of a second ago.

    Reading takes as long as ten calls, and a hundred clients may ask at once. It is kept as encoded JSON, since it is
    the largest part of the answer.
    """
    if now - service.machine_read_at > _MACHINE_SECONDS:
        service.machine_read_at = now
        found = {
            "soc": service.language.board.describe(),
            "npu_load": service.platform.npu_load(),
            "memory": service.language.memory_guard.describe(),
            "versions": {
                "daemon": __version__,
                "runtime": service.language.runtime.describe(),
                "rknn_runtime": service.vision.runtime.describe(),
                "driver": service.platform.driver_version(),
                "soc": service.language.board.name,
                "machine": machine(),
            },
        }
        service.machine = {name: orjson.Fragment(orjson.dumps(value)) for name, value in found.items()}
    return service.machine


def _current(service: Service, now: float) -> JsonObject | None:
    job = service.npu.queue.running
    if job is None:
        return None
    return {
        "method": job.method,
        "client": describe_client(views.owner_of(job)),
        "model_path": job.model_name or None,
        "elapsed_ms": elapsed_ms(job.started_at, now),
        "progress": views.of(job, service.npu.durations, now),
        "together": _members(service, now),
    }


def _members(service: Service, now: float) -> list[JsonObject] | None:
    """Return the calls that share the batch that runs; None if nothing shares one."""
    members = service.npu.queue.members
    shown = [
        {"client": describe_client(job.client), "progress": views.of(job, service.npu.durations, now)}
        for job in members
    ]
    return shown or None


def _context(item: objects.Context) -> JsonObject:
    return {"context": item.number, "model_path": item.path, "size_bytes": item.size_bytes, "runs": item.run_count}
