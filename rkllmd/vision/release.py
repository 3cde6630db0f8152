"""How RKNN's objects are released: when their client goes, when a method destroys them, when the daemon ends.

All of this happens on the worker thread, and memories are released before the contexts that they were made with.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import outcome
import structlog

from rkllmd.abi.c import NativeHandle
from rkllmd.abi.layouts.rknn import rknn_context
from rkllmd.calls.failure import as_error
from rkllmd.errors import RpcError
from rkllmd.npu.job import Job
from rkllmd.vision import runs
from rkllmd.vision.encoders import Encoders
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.vision.parts import Vision

log = structlog.get_logger()


def release_client(vision: Vision, client: int) -> None:
    """Release what a client leaves behind; called on the event loop, after its waiting calls were dropped.

    The client's running call may still make something, so the job looks for it only when its turn comes.
    """
    running = [job for job in (vision.npu.queue.running, vision.npu.queue.at_boundary) if job is not None]
    may_make = any(
        getattr(job.client, "number", None) == client and not job.changes.isdisjoint(("memory", "matmul", "context"))
        for job in running
    )
    if may_make or any(handles.owned_by(client) for handles in (vision.memories, vision.matmuls, vision.contexts)):
        vision.npu.submit(Job("rknn.destroy", partial(_release, vision, client), _log_failure))


def release_all(vision: Vision) -> None:
    """Release everything, on the worker thread, when the daemon ends."""
    runs.finish(vision)
    Encoders(vision).release_all()
    _destroy_each(vision, vision.memories)
    _destroy_each(vision, [*vision.matmuls, *vision.contexts])


def destroy(vision: Vision, item: Context | Matmul) -> None:
    """Destroy a context and the memories made with it. Raises RuntimeFailure; its handle is dead then too."""
    if isinstance(item, Context):
        runs.stop(vision, item)
    runs.finish(vision)
    _destroy_each(vision, [memory for memory in vision.memories if memory.parent is item])
    pointer, item.pointer = item.pointer, rknn_context()
    if isinstance(item, Matmul):
        vision.matmuls.remove(item.number)
        vision.runtime.call("rknn_matmul_destroy", pointer, on=item)
        return
    vision.contexts.remove(item.number)
    try:
        release_outputs(vision, item, pointer)
    finally:
        vision.runtime.call("rknn_destroy", pointer, on=item)
        item.keep_alive.clear()


def release_outputs(vision: Vision, item: Context, pointer: NativeHandle) -> None:
    """Give the outputs of the last rknn_outputs_get back to the runtime, if there are any; ``pointer``: the context."""
    outputs, item.outputs_held = item.outputs_held, None
    if outputs is not None:
        vision.runtime.call("rknn_outputs_release", pointer, len(outputs), outputs, on=item)


def destroy_memory(vision: Vision, memory: TensorMemory) -> None:
    """Destroy a tensor memory. Raises RuntimeFailure; its handle is dead then too.

    One that belongs to no context takes any. If there is none any more, C is told when there is one again: without a
    context it can't be.
    """
    vision.memories.remove(memory.number)
    parent = memory.parent or next(iter([*vision.contexts, *vision.matmuls]), None)
    if parent is None:
        vision.left_memories.append(memory)
        log.info("memory_is_freed_with_the_next_context", mem=memory.number, size_bytes=memory.size)
        return
    pointer, memory.pointer = memory.pointer, None
    try:
        vision.runtime.call("rknn_destroy_mem", parent.pointer, pointer, on=memory)
    finally:
        memory.close()


def destroy_left(vision: Vision) -> None:
    """Destroy the memories that were to be while there was no context; on the worker, after one was made."""
    left, vision.left_memories = vision.left_memories, []
    _destroy_each(vision, left)


def _release(vision: Vision, client: int) -> None:
    runs.finish(vision)
    _destroy_each(vision, vision.memories.owned_by(client))
    _destroy_each(vision, [*vision.matmuls.owned_by(client), *vision.contexts.owned_by(client)])


def _destroy_each(vision: Vision, items: Iterable[Context | Matmul | TensorMemory]) -> None:
    """Destroy all of them, even if the runtime fails for one."""
    for item in items:
        try:
            if isinstance(item, TensorMemory):
                destroy_memory(vision, item)
            else:
                destroy(vision, item)
        except RpcError as error:
            log.error("not_released", handle=item.number, error=error.to_json())


def _log_failure(result: outcome.Outcome[object]) -> None:
    if isinstance(result, outcome.Error):
        as_error(result.error, "rknn.destroy")
