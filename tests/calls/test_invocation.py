"""How the tensors of a result go to the client, and whether it still wants them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest

from rkllmd.calls.invocation import Invocation
from rkllmd.npu.job import Job
from rkllmd.wire import jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS

NOTHING: Any = None


def of(**members: Any) -> Invocation:
    request = jsonrpc.Request(1, "rknn.infer", {}, members)
    return Invocation(NOTHING, jsonrpc.Call(request, None), NOTHING)


@pytest.fixture
def by_descriptor() -> Iterator[Invocation]:
    invocation = of(reply_fds=True)
    yield invocation
    invocation.fds.close()


def test_a_tensor_is_base64_unless_descriptors_are_asked_for() -> None:
    invocation = of()
    tensor = invocation.tensor(b"\1\2\3\4", (2, 2), "uint8")
    assert tensor == {"data": base64.b64encode(b"\1\2\3\4").decode(), "shape": [2, 2], "dtype": "uint8"}
    assert invocation.fds is NO_DESCRIPTORS


def test_a_tensor_by_descriptor_names_its_place_among_them(by_descriptor: Invocation) -> None:
    first = by_descriptor.tensor(b"\1\2\3\4", (2, 2), "uint8")
    second = by_descriptor.tensor(b"\5\6", (1,), "float16")
    assert first == {"fd": 0, "size": 4, "dtype": "uint8", "shape": [2, 2]}
    assert second == {"fd": 1, "size": 2, "dtype": "float16", "shape": [1]}
    assert [os.pread(fd, 10, 0) for fd in by_descriptor.fds] == [b"\1\2\3\4", b"\5\6"]


def test_more_tensors_than_descriptors_in_a_message_are_base64(by_descriptor: Invocation) -> None:
    forms = [by_descriptor.tensor(b"\1", (1,), "uint8").keys() for _ in range(255)]
    assert all("fd" in form for form in forms[:253])
    assert all("data" in form for form in forms[253:])
    assert len(by_descriptor.fds) == 253


def test_what_is_attached_is_the_invocations_and_of_no_other() -> None:
    ours, theirs = of(), of()
    sent = os.memfd_create("sent")
    assert ours.attach(sent, size=5) == {"fd": 0, "size": 5}
    assert (len(ours.fds), len(theirs.fds)) == (1, 0)
    ours.fds.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sent)


def test_it_is_cancelled_when_its_job_is() -> None:
    invocation = of()
    assert not invocation.is_cancelled, "it is not queued"
    invocation.job = Job("rknn.infer", lambda: None, lambda _: None)
    assert not invocation.is_cancelled
    invocation.job.cancel()
    assert invocation.is_cancelled
