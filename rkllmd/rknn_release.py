"""How RKNN's objects go: when their client goes, when they are destroyed by name, when the daemon leaves.

All of it on the worker thread, and memories before the contexts that they were made with.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import outcome
import structlog

from rkllmd import rknn_runs
from rkllmd.abi.rknn import rknn_context
from rkllmd.context import Context
from rkllmd.errors import RpcError
from rkllmd.npu import Job, as_error
from rkllmd.rknn_handles import Context as RknnContext
from rkllmd.rknn_handles import Matmul, Memory

log = structlog.get_logger()


def release_client(context: Context, client: int) -> None:
    """Release what a client leaves behind; called on the event loop, after its waiting calls were dropped.

    Its call that is running may still make something, so the work looks only when its turn comes.
    """
    running = [job for job in (context.npu.queue.running, context.npu.queue.between) if job is not None]
    may_make = any(
        getattr(job.client, "number", None) == client and not job.changes.isdisjoint(("memory", "matmul", "context"))
        for job in running
    )
    if may_make or any(handles.owned_by(client) for handles in (context.memories, context.matmuls, context.contexts)):
        context.npu.submit(Job("rknn.destroy", partial(_release, context, client), _log_failure))


def release_all(context: Context) -> None:
    """Release everything, on the worker thread; when the daemon leaves."""
    rknn_runs.finish(context)
    _destroy_each(context, context.memories)
    _destroy_each(context, [*context.matmuls, *context.contexts])


def destroy(context: Context, item: RknnContext | Matmul) -> None:
    """Destroy a context and the memories made with it. Raises RuntimeFailure; its handle is dead then too."""
    if isinstance(item, RknnContext):
        rknn_runs.stop(context, item)
    rknn_runs.finish(context)
    _destroy_each(context, [memory for memory in context.memories if memory.parent is item])
    pointer, item.pointer = item.pointer, rknn_context()
    if isinstance(item, Matmul):
        context.matmuls.remove(item.number)
        context.rknn_runtime.call("rknn_matmul_destroy", pointer)
        return
    context.contexts.remove(item.number)
    try:
        release_outputs(context, item, pointer)
    finally:
        context.rknn_runtime.call("rknn_destroy", pointer)
        item.keep_alive.clear()


def release_outputs(context: Context, item: RknnContext, pointer: Any) -> None:
    """Give the outputs of the last rknn_outputs_get back to the runtime, if there are any."""
    outputs, item.outputs_held = item.outputs_held, None
    if outputs is not None:
        context.rknn_runtime.call("rknn_outputs_release", pointer, len(outputs), outputs)


def destroy_memory(context: Context, memory: Memory) -> None:
    """Destroy a tensor memory. Raises RuntimeFailure; its handle is dead then too."""
    context.memories.remove(memory.number)
    pointer, memory.pointer = memory.pointer, None
    parent = memory.parent.pointer if memory.parent is not None else rknn_context()
    try:
        context.rknn_runtime.call("rknn_destroy_mem", parent, pointer)
    finally:
        memory.close()


def _release(context: Context, client: int) -> None:
    rknn_runs.finish(context)
    _destroy_each(context, context.memories.owned_by(client))
    _destroy_each(context, [*context.matmuls.owned_by(client), *context.contexts.owned_by(client)])


def _destroy_each(context: Context, items: Iterable[RknnContext | Matmul | Memory]) -> None:
    """Destroy all of them, whatever the runtime says to one."""
    for item in items:
        try:
            if isinstance(item, Memory):
                destroy_memory(context, item)
            else:
                destroy(context, item)
        except RpcError as error:
            log.error("not_released", handle=item.number, error=error.to_json())


def _log_failure(result: outcome.Outcome[Any]) -> None:
    if isinstance(result, outcome.Error):
        as_error(result.error, "rknn.destroy")
