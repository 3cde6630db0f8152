"""In which order RKNN's objects go, whatever the runtime says, and when a client's are released."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import outcome
import pytest
from structlog.testing import capture_logs

from rkllmd.errors import RuntimeFailure
from rkllmd.npu.job import Job
from rkllmd.vision.objects import Context
from rkllmd.vision.release import destroy, destroy_left, destroy_memory, release_all, release_client
from rkllmd.wire.descriptors import Descriptors
from tests.vision.rooms import Room


def test_a_context_goes_with_its_memories_first_and_its_outputs() -> None:
    room = Room()
    context = room.context()
    mine, others = room.memory(context), room.memory(room.context())
    context.outputs_held = [1, 2]  # type: ignore[assignment]
    context.keep_alive.append(b"the model")
    destroy(room, context)
    assert room.runtime.called == ["rknn_destroy_mem", "rknn_outputs_release", "rknn_destroy"]
    assert (context.is_alive, mine.is_alive, others.is_alive) == (False, False, True)
    assert (context.outputs_held, context.keep_alive) == (None, [])
    assert context not in list(room.contexts)


@pytest.mark.parametrize("function", ["rknn_outputs_release", "rknn_destroy"])
def test_a_context_whose_end_fails_is_gone_all_the_same(function: str) -> None:
    room = Room()
    room.runtime.fails[function] = -1
    context = room.context()
    context.outputs_held = [1]  # type: ignore[assignment]
    with pytest.raises(RuntimeFailure, match=function):
        destroy(room, context)
    assert room.runtime.called == ["rknn_outputs_release", "rknn_destroy"]
    assert not context.is_alive
    assert list(room.contexts) == []


def test_a_run_that_goes_on_is_waited_for_before() -> None:
    room = Room()
    context = room.context(is_running=True)
    destroy(room, context)
    assert room.runtime.called == ["rknn_wait", "rknn_destroy"]


def test_a_matmul_goes_with_its_memories_too() -> None:
    room = Room()
    matmul = room.matmul()
    room.memory(matmul)
    destroy(room, matmul)
    assert room.runtime.called == ["rknn_destroy_mem", "rknn_matmul_destroy"]
    assert [*room.matmuls, *room.memories] == []


def test_a_memory_that_fails_to_be_destroyed_is_given_up_all_the_same() -> None:
    room = Room()
    room.context()
    room.runtime.fails["rknn_destroy_mem"] = -1
    sent = os.memfd_create("sent")
    memory = room.memory()
    memory.descriptors = Descriptors([sent])
    with pytest.raises(RuntimeFailure):
        destroy_memory(room, memory)
    assert not memory.is_alive
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sent)


def test_when_the_daemon_leaves_everything_goes_whatever_fails() -> None:
    room = Room()
    room.memory(room.context(), owner=2)
    room.matmul(owner=None)
    room.runtime.fails = {"rknn_destroy_mem": -1, "rknn_matmul_destroy": -1, "rknn_destroy": -1}
    with capture_logs() as logs:
        release_all(room)
    assert room.runtime.called == ["rknn_destroy_mem", "rknn_matmul_destroy", "rknn_destroy"]
    assert [(line["event"], line["error"]["data"]["function"]) for line in logs] == [
        ("not_released", name) for name in room.runtime.called
    ]
    assert [*room.memories, *room.matmuls, *room.contexts] == []


def test_a_memory_without_a_context_waits_for_the_next_one() -> None:
    room = Room()
    memory = room.memory()
    destroy_memory(room, memory)
    destroy_left(room)
    assert room.runtime.called == []
    assert [*room.memories] == []
    room.matmul()
    destroy_left(room)
    destroy_left(room)
    assert room.runtime.called == ["rknn_destroy_mem"]
    assert not memory.is_alive


# -- a client that is gone ---------------------------------------------------------------------------------------------


def job_of(client: int, *changes: str) -> Job:
    whose: Any = SimpleNamespace(number=client)
    return Job("rknn.init", lambda: None, lambda _: None, client=whose, changes=frozenset(changes))


def test_a_client_that_has_nothing_costs_the_npu_nothing() -> None:
    room = Room()
    room.context(owner=2)
    room.memory(owner=None)
    room.npu.queue.running = job_of(2, "context")
    room.npu.queue.at_boundary = job_of(1)
    release_client(room, 1)
    assert room.npu.submitted == []


@pytest.mark.parametrize("made", ["context", "matmul", "memory"])
def test_what_is_its_own_goes_in_the_daemons_turn(made: str) -> None:
    room = Room()
    mine = getattr(room, made)()
    getattr(room, made)(owner=2)
    getattr(room, made)(owner=None)
    if made == "memory":
        mine.parent = Context(path="", size_bytes=0, flag=0)
    release_client(room, 1)
    (job,) = room.npu.submitted
    assert (job.method, job.client) == ("rknn.destroy", None)
    assert room.runtime.called == [], "not before"
    job.work()
    assert len(room.runtime.called) == 1
    assert len([*room.contexts, *room.matmuls, *room.memories]) == 2


@pytest.mark.parametrize("place", ["running", "at_boundary"])
@pytest.mark.parametrize("kind", ["context", "matmul", "memory"])
def test_what_its_running_call_may_still_make_goes_too(place: str, kind: str) -> None:
    room = Room()
    setattr(room.npu.queue, place, job_of(1, kind))
    release_client(room, 1)
    (job,) = room.npu.submitted
    context = room.context()
    job.work()
    assert not context.is_alive


def test_a_release_that_fails_is_in_the_log() -> None:
    room = Room()
    room.context()
    release_client(room, 1)
    (job,) = room.npu.submitted
    with capture_logs() as logs:
        job.done(outcome.Value(None))
        assert logs == []
        job.done(outcome.Error(ZeroDivisionError()))
    assert [(line["event"], line["method"]) for line in logs] == [("internal_error", "rknn.destroy")]
