"""server.status: what the daemon is doing, what is loaded, what it runs on."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import orjson

from rkllmd import __version__, progress, rknn_handles, soc
from rkllmd.context import Context, Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, method
from rkllmd.platform import machine
from rkllmd.progress import describe_client, elapsed_ms

_MACHINE_SECONDS: Final = 0.1


@method(Kind.INSTANT)
def status(invocation: Invocation) -> dict[str, Any]:
    """Return the state; nothing in it comes from a call into the runtime, so it answers at any time."""
    context = invocation.context
    now = time.monotonic()
    outage = context.npu.supervisor.outage
    return {
        "state": context.npu.state,
        "current": _current(context, now),
        "device_lost": None if outage is None else outage.describe(now),
        "queue_length": len(context.npu.queue),
        "models": [_model(model, now) for model in context.models],
        "declared": [model.name for model in context.config.models],
        "contexts": [_context(item) for item in context.contexts],
        "matmuls": [{"context": item.number, "shape": item.shapes[item.shape_index]} for item in context.matmuls],
        "memories": [
            {"mem": item.number, "size": item.size, "context": item.parent.number if item.parent else None}
            for item in context.memories
        ],
        "clients": len(context.clients),
        "pid": os.getpid(),
        "uptime_s": round(now - context.started_at, 1),
        "last_crash": None,
        **_machine(context, now),
    }


def _machine(context: Context, now: float) -> dict[str, Any]:
    """Return what is read from the machine's files, which takes as long as ten calls: a tenth of a second old at most.

    A hundred clients may ask at once. It is JSON already, for it is most of the answer.
    """
    if now - context.machine_read_at > _MACHINE_SECONDS:
        context.machine_read_at = now
        found = {
            "soc": soc.describe(context),
            "npu_load": context.platform.npu_load(),
            "memory": context.platform.memory(),
            "versions": {
                "daemon": __version__,
                "runtime": context.runtime.describe(),
                "rknn_runtime": context.rknn_runtime.describe(),
                "driver": context.platform.driver_version(),
                "soc": context.board.name,
                "machine": machine(),
            },
        }
        context.machine = {name: orjson.Fragment(orjson.dumps(value)) for name, value in found.items()}
    return context.machine


def _current(context: Context, now: float) -> dict[str, Any] | None:
    job = context.npu.queue.running
    if job is None:
        return None
    return {
        "method": job.method,
        "client": describe_client(job.client),
        "elapsed_ms": elapsed_ms(job.started_at, now),
        "progress": progress.of(job, context.npu.history, now),
    }


def _context(item: rknn_handles.Context) -> dict[str, Any]:
    return {"context": item.number, "model_path": item.path, "size_bytes": item.size_bytes, "runs": item.runs}


def _model(model: Model, now: float) -> dict[str, Any]:
    return {
        "handle": model.number,
        "name": model.name,
        "model_path": model.path,
        "state": "asleep" if model.is_asleep else "loaded",
        "size_bytes": model.size_bytes,
        "base_domain_id": model.domain,
        "n_batch": model.n_batch,
        "max_context_len": model.max_context_len,
        "trained_context_len": model.trained_context_len,
        "chat_template": model.template_in_use,
        "lora_adapters": model.lora_adapters,
        "paused": model.kv_cache.is_paused,
        "loaded_s": None if model.is_asleep else round(now - model.loaded_at, 1),
        "unused_s": round(now - model.used_at, 1),
    }
