"""What is executed at once and what is queued, with what priority, and what its job says of it."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from rkllmd.calls.declaration import Handle, Kind, Part, Value
from rkllmd.errors import InvalidParams, PermissionDenied, QueueFull
from rkllmd.npu.job import Job
from rkllmd.service import dispatch
from rkllmd.service.parts import Service
from rkllmd.service.preparation import prepare
from rkllmd.wire.descriptors import Descriptors
from tests.service.services import PATIENCE, Client, assembled, call_of, loaded, method

LLM = Handle("handle", ("llm",), "model")


def started(service: Service, name: str, params: Any = None, client: Client | None = None, **members: Any) -> Any:
    """Start a call; return its client and its job."""
    client, call = client or Client(), call_of(name, params, **members)
    return client, dispatch.start(service, client, call, prepare(service, client, call))


async def ended(client: Client) -> Client:
    with trio.fail_after(PATIENCE):
        await client.ended.wait()
    return client


async def test_an_instant_call_is_answered_at_once_with_its_descriptors() -> None:
    def instant(service: Service, invocation: Any) -> dict[str, Any]:
        return invocation.attach(os.open(os.devnull, os.O_RDONLY))  # type: ignore[no-any-return]

    async with assembled() as service:
        service.methods["server.test"] = method(kind=Kind.INSTANT, call=instant)
        client, job = started(service, "server.test")
        assert (job, client.result) == (None, {"fd": 0})
        assert len(client.fds) == 1
        client.fds.close()


async def test_an_instant_call_that_the_daemon_has_no_answer_for_goes_to_the_worker() -> None:
    async with assembled() as service:
        known: list[bool] = [True]
        service.methods["server.test"] = method(kind=Kind.INSTANT, known=lambda *_: known[0])
        assert started(service, "server.test")[1] is None
        known[0] = False
        client, job = started(service, "server.test")
        assert isinstance(job, Job)
        assert (await ended(client)).error is None


async def test_an_ordered_call_is_executed_on_the_worker_thread(tmp_path: Path) -> None:
    """C is never called on the event loop, which everybody would wait for."""
    threads: list[int] = []

    def notes(*_: Any, **__: Any) -> None:
        threads.append(threading.get_ident())

    async with assembled() as service:
        await loaded(service, tmp_path)
        (model,) = service.language.models
        model.used_at = 0.0
        service.methods["rkllm.test"] = method(LLM, kind=Kind.ORDERED, call=notes)
        client, job = started(service, "rkllm.test")
        assert isinstance(job, Job)
        await ended(client)
        assert model.used_at > 0
        assert threads != [threading.get_ident()]


async def test_what_fails_at_once_names_what_the_client_wrote() -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise InvalidParams("$.x is wrong.", path="$.x")

    async with assembled() as service:
        service.methods["server.test"] = method(Value("x", {}), kind=Kind.INSTANT, call=fails)
        service.methods["rkllm.test"] = method(Value("x", {}), check=fails)
        for name in ("server.test", "rkllm.test"):
            with pytest.raises(InvalidParams) as caught:
                started(service, name, [5])
            assert (caught.value.data["path"], caught.value.message) == ("$[0]", "$[0] is wrong.")
        assert len(service.npu.queue) == 0


@pytest.mark.parametrize(("priority", "user"), [("low", 1000), ("normal", 1000), ("high", 7)])
async def test_a_call_has_the_priority_that_it_asks_for(priority: str, user: int) -> None:
    async with assembled(priority_users=(7,)) as service:
        service.methods["rkllm.test"] = method()
        client, job = started(service, "rkllm.test", client=Client(user=user), priority=priority)
        assert job.priority == priority
        await ended(client)


async def test_high_priority_is_for_those_whom_the_configuration_trusts() -> None:
    async with assembled(priority_users=(7,)) as service:
        service.methods["rkllm.test"] = method()
        with pytest.raises(PermissionDenied, match="priority_users") as caught:
            started(service, "rkllm.test", priority="high")
        assert caught.value.data["setting"] == "priority_users"
        with pytest.raises(InvalidParams, match='"priority"'):
            started(service, "rkllm.test", priority="urgent")


async def test_the_job_says_what_the_method_declares(tmp_path: Path) -> None:
    async with assembled() as service:
        number = await loaded(service, tmp_path, max_new_tokens=33)
        (model,) = service.language.models
        client, job = started(service, "rkllm.run", {"prompt": "Hello", "handle": number}, timeout_ms=60_000)
        assert (job.method, job.client, job.user, job.target) == ("rkllm.run", client, 1000, model)
        assert (job.model_name, job.most_tokens, job.proves_npu) == (model.path, 33, True)
        assert (job.deadlines.between, job.load, job.fits_between_tokens) == (60.0, None, False)
        assert (job.progressed_at is not None, job.abort is not None, job.ends_soon) == (True, True, False)
        await ended(client)
        operator = Client(user=os.geteuid())  # who may see the test's files
        client, job = started(service, "rkllm.init", {"model_path": model.path, "replace": True}, client=operator)
        assert (job.model_name, job.changes, job.abort) == (model.path, {"llm"}, None)
        assert job.load is not None
        assert job.deadlines.wait == math.inf
        await ended(client)


@pytest.mark.parametrize(
    ("runtime", "part", "is_interrupted", "is_kept"),
    [
        ("portable", Part.VISION, True, True),
        ("portable", Part.SERVICE, False, False),
        ("simulator", Part.VISION, False, False),
    ],
)
async def test_only_the_portable_runtimes_rknn_calls_can_be_interrupted(
    runtime: str, part: Part, is_interrupted: bool, is_kept: bool
) -> None:
    async with assembled(runtime) as service:
        service.methods["rknn.test"] = method(Value("keep", {}, required=False), part=part)
        client, job = started(service, "rknn.test", {"keep": True})
        assert (job.abort is not None, job.is_kept) == (is_interrupted, is_kept)
        await ended(client)
        client, job = started(service, "rknn.test")
        assert not job.is_kept
        await ended(client)


async def test_the_descriptors_of_a_queued_call_stay_open_until_it_has_ended() -> None:
    async with assembled() as service:
        service.methods["rknn.test"] = method()
        memory = os.memfd_create("sent")
        client, call = Client(), call_of("rknn.test", fds=Descriptors([memory]))
        dispatch.start(service, client, call, prepare(service, client, call))
        call.fds.close()
        os.fstat(memory)
        await ended(client)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(memory)


async def test_a_call_that_does_not_fit_lends_nothing() -> None:
    async with assembled(max_queue=1) as service:
        service.methods["rknn.test"] = method()
        service.npu.queue.running = Job("rknn.run", lambda: None, lambda _: None)
        client, waiting = started(service, "rknn.test")
        memory = os.memfd_create("sent")
        other, call = Client(2), call_of("rknn.test", fds=Descriptors([memory]))
        with pytest.raises(QueueFull):
            dispatch.start(service, other, call, prepare(service, other, call))
        call.fds.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(memory)
        service.npu.cancel(waiting)
        service.npu.queue.running = None
        assert client.kind == "Cancelled"


def test_a_call_that_could_not_be_started_is_answered_and_its_frames_are_let_go() -> None:
    async def refused(error: Exception) -> Client:
        client = Client()
        try:
            raise error
        except Exception as raised:
            dispatch.refuse(client, call_of("x.y"), raised)
        return client

    known, fault = InvalidParams("no"), ZeroDivisionError()
    assert trio.run(refused, known).kind == "InvalidParams"
    with capture_logs():
        assert trio.run(refused, fault).kind == "InternalError"
    assert fault.__traceback__ is None
