"""What a run needs beside its inputs: memories that are there and large enough, a fence of the client's."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.abi.layouts.rknn import rknn_run_extend
from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.binding.params import Given
from rkllmd.errors import InvalidParams, RuntimeFailure
from rkllmd.wire.descriptors import Descriptors
from rknn import _inference
from tests.rknn.asked import Q, attr
from tests.vision.rooms import Room, invocation


def bound(room: Room, size: int, *, output: bool = False) -> Any:
    """Return a context with a tensor of 40 bytes that is bound to a memory, and the memory."""
    context, memory = room.context(), room.memory()
    memory.size = size
    context.inputs, context.outputs = [attr(10)], [attr(10, name="y")]
    context.bindings[output, 0] = (memory, attr(10))
    return context, memory


@pytest.mark.parametrize(("output", "name"), [(False, "input 0"), (True, "output 0")])
def test_a_memory_that_is_gone_or_too_small_is_said_by_its_tensor(output: bool, name: str) -> None:
    context, memory = bound(Room(), 40, output=output)
    _inference.check_bindings(context)
    memory.size = 39
    with pytest.raises(InvalidParams, match=f"^{name} .* 40 bytes.* 39") as caught:
        _inference.check_bindings(context)
    assert caught.value.data["limit"] == 40
    memory.pointer = None
    with pytest.raises(InvalidParams, match=f"The memory that {name} was bound to .* rknn.set_io_mem"):
        _inference.check_bindings(context)


def test_a_memory_for_weights_that_is_gone_stops_every_run() -> None:
    room = Room()
    context, memory = room.context(), room.memory()
    context.outside.append(memory)
    _inference.check_bindings(context)
    memory.pointer = None
    with pytest.raises(InvalidParams, match="weights"):
        _inference.run_once(room, invocation(), context, rknn_run_extend())
    assert room.runtime.called == []


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ({}, True),
        ({"extend": Given({}, "$.extend")}, True),
        ({"extend": Given({"non_block": 0}, "$.extend")}, True),
        ({"extend": Given({"non_block": 1}, "$.extend")}, False),
        ({"extend": Given("what will be refused", "$.extend")}, True),
    ],
)
def test_whether_a_run_ends_with_its_call(given: dict[str, Given], ends: bool) -> None:
    assert _inference.ends_when_it_returns(given) is ends


def test_a_fence_is_a_descriptor_that_came_with_the_call() -> None:
    assert _inference.run_extend(None).fence_fd == -1
    sources = Attachments(Descriptors([7, 9]))
    plain = Converted(None, {"non_block": 1, "timeout_ms": 5}, "$.extend", sources)
    made = _inference.run_extend(plain)
    assert (made.non_block, made.timeout_ms, made.fence_fd) == (1, 5, -1)
    assert _inference.run_extend(Converted(None, {"fence_fd": {"fd": 1}}, "$.extend", sources)).fence_fd == 9
    with pytest.raises(InvalidParams) as caught:
        _inference.run_extend(Converted(None, {"fence_fd": {"fd": 2}}, "$.extend", sources))
    assert caught.value.data["path"] == "$.extend.fence_fd.fd"


def test_what_was_measured_of_the_run_before_is_forgotten() -> None:
    room = Room()
    room.runtime.shapes_follow_values = False
    context = room.context()
    context.answers = {(Q.RKNN_QUERY_PERF_RUN, 0): attr(1), (Q.RKNN_QUERY_IN_OUT_NUM, 0): attr(2)}
    _inference.run_once(room, invocation(), context, rknn_run_extend())
    assert (context.run_count, [command for command, _ in context.answers]) == (1, [Q.RKNN_QUERY_IN_OUT_NUM])
    room.runtime.fails["rknn_run"] = -1
    with pytest.raises(RuntimeFailure):
        _inference.run_once(room, invocation(), context, rknn_run_extend())
    assert context.run_count == 1


@pytest.mark.parametrize(("non_block", "asks"), [(0, 1), (1, 0)])
def test_shapes_that_follow_from_values_are_asked_for_when_the_run_has_ended(
    monkeypatch: pytest.MonkeyPatch, non_block: int, asks: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(_inference, "learn_run", lambda *given: asked.append(given))
    room = Room()
    context = room.context()
    _inference.run_once(room, invocation(), context, rknn_run_extend(non_block=non_block))
    assert asked == [(room.runtime, context)] * asks
