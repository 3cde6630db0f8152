"""A new context gets its handle, or is destroyed: what rknn.init and rknn.dup_context share."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import Cancelled, RuntimeFailure
from rkllmd.vision.objects import Context
from rknn import _contexts
from tests.rknn.asked import Q, attr, model
from tests.vision.rooms import Room, invocation


def loaded() -> tuple[Room, Any, Context]:
    """Return a room whose runtime knows a model with one input and one output, and that model's context."""
    room = Room()
    room.runtime, _ = model(attr(2, 3), outputs=[attr(2, 5, name="y")])
    context = Context("/m.rknn", 10, 0)
    context.pointer.value = 1
    return room, room.runtime, context


def test_a_context_belongs_to_its_client_or_is_kept() -> None:
    for keep, owner in ((False, 1), (True, None)):
        room, runtime, context = loaded()
        result = _contexts.add(room, invocation(client=1), context, keep=keep)
        assert (result["context"], result["n_input"], result["n_output"]) == (context.number, 1, 1)
        assert room.contexts.owner_of(context.number) == owner
        assert "rknn_set_core_mask" not in runtime.called, "the runtime chooses the cores"


def test_it_runs_on_the_cores_that_were_asked_for() -> None:
    room, runtime, context = loaded()
    _contexts.add(room, invocation(), context, keep=False, cores=3)
    assert runtime.called == ["rknn_set_core_mask"]


def test_a_context_that_is_not_described_is_destroyed() -> None:
    room, runtime, context = loaded()
    del runtime.answers[Q.RKNN_QUERY_OUTPUT_ATTR, 0]
    with pytest.raises(RuntimeFailure):
        _contexts.add(room, invocation(), context, keep=False)
    assert (runtime.called, len(room.contexts)) == (["rknn_destroy"], 0)


def test_a_context_for_nobody_is_destroyed() -> None:
    room, runtime, context = loaded()
    call = invocation()
    assert call.job is not None
    call.job.cancelled = True
    with pytest.raises(Cancelled):
        _contexts.add(room, call, context, keep=True)
    assert (runtime.called, len(room.contexts)) == (["rknn_destroy"], 0)
