"""A queued call at its turn: what is looked at again, how it is aborted, and what its client is told."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import outcome
import pytest
from structlog.testing import capture_logs

from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.declaration import Handle, Kind, Method, Value
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import Cancelled, InvalidHandle, InvalidParams, RpcError, RuntimeFailure, Timeout
from rkllmd.interruption import Interruption, current
from rkllmd.language.model import Model
from rkllmd.npu.job import Job
from rkllmd.npu.load import Load
from rkllmd.service.execution import Execution
from rkllmd.service.parts import Service
from rkllmd.service.preparation import Prepared, prepare
from rkllmd.vision import runs
from rkllmd.vision.objects import Context
from rkllmd.wire.descriptors import Descriptors
from tests.service.services import Client, assembled, call_of, method

FAILED = RuntimeFailure("rknn_run failed.", function="rknn_run", status=-1, log=[])
TIMEOUT = Timeout("It took longer than it may.", limit_ms=1, elapsed_ms=2.0)


class Call:
    """A call of a method of the test's own, at its turn."""

    def __init__(
        self, service: Service, declared: Method, params: Any = None, *, objects: list[Any] | None = None
    ) -> None:
        service.methods["rkllm.test"] = declared
        self.client, self.call = Client(), call_of("rkllm.test", params)
        prepared = prepare(service, self.client, self.call)
        if objects is not None:
            prepared = Prepared(declared, {}, Attachments(), {}, objects)
        self.invocation = Invocation(self.client, self.call, declared)
        self.execution = Execution(service, self.invocation, prepared)
        self.job = self.invocation.job = Job("rkllm.test", self.execution.work, self.execution.done)


def raises(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


# -- work --------------------------------------------------------------------------------------------------------------


async def test_the_function_gets_its_part_the_invocation_and_the_arguments() -> None:
    async with assembled() as service:
        got: list[Any] = []
        call = Call(service, method(Value("x", {}), call=lambda *given, **named: got.append((given, named))), {"x": 5})
        call.execution.work()
        assert got == [((service, call.invocation), {"x": 5})]


async def test_an_object_that_went_while_the_call_waited_is_refused() -> None:
    async with assembled() as service:
        call = Call(service, method(), objects=[Context("/m.rknn", 1, 0)])
        with pytest.raises(InvalidHandle, match="while the call waited"):
            call.execution.work()


async def test_what_was_left_is_made_ready_checked_and_said_to_the_job() -> None:
    async with assembled() as service:
        checked: list[Any] = []
        declared = method(
            Handle("handle", ("llm",), "model"),
            check=lambda *_, **arguments: checked.append(arguments["model"]),
            model_of=lambda *_, **__: "/m.rkllm",
        )
        service.npu.queue.running = Job("rkllm.init", lambda: None, lambda _: None, changes=frozenset({"llm"}))
        call = Call(service, declared)
        service.npu.queue.running = None
        model: Any = SimpleNamespace(is_alive=True, is_asleep=False)
        service.language.models.add(model)
        call.execution.work()
        assert checked == [model]
        assert (call.job.target, call.job.model_name) == (model, "/m.rkllm")


async def test_a_load_begins_to_be_counted_when_its_turn_has_come() -> None:
    async with assembled() as service:
        call = Call(service, method())
        call.job.load = Load("", lambda: 5000)
        call.execution.work()
        assert call.job.load.to_json(1.0, None)["bytes_read"] == 0


@pytest.mark.parametrize(
    ("kind", "ends_runs", "waits"), [(Kind.NPU, False, 1), (Kind.NPU, True, 0), (Kind.INSTANT, False, 0)]
)
async def test_what_uses_the_npu_waits_for_runs_that_do_not_block(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, ends_runs: bool, waits: int
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(runs, "finish", lambda *given: waited.append(given))
    async with assembled() as service:
        call = Call(service, method(kind=kind, ends_runs=ends_runs))
        call.execution.work()
        assert waited == [(service.vision, call.invocation)] * waits


async def test_a_failure_of_an_interrupted_call_is_its_cancellation() -> None:
    async with assembled() as service:
        call = Call(service, method(call=raises(FAILED)))
        with pytest.raises(RuntimeFailure):
            call.execution.work()
        call.invocation.interruption = Interruption()
        with pytest.raises(RuntimeFailure):
            call.execution.work()
        call.execution.abort()
        with pytest.raises(Cancelled, match="what the runtime did for it was stopped"):
            call.execution.work()
        assert current() is None


async def test_an_error_at_its_turn_names_what_the_client_wrote() -> None:
    async with assembled() as service:
        call = Call(service, method(Value("x", {}), call=raises(InvalidParams("$.x is wrong.", path="$.x"))), [5])
        with pytest.raises(InvalidParams) as caught:
            call.execution.work()
        assert caught.value.data["path"] == "$[0]"


# -- abort -------------------------------------------------------------------------------------------------------------


async def test_an_abort_reaches_the_model_that_the_job_is_for() -> None:
    async with assembled() as service:
        aborted: list[Any] = []
        call = Call(service, method(abort=lambda part, model: aborted.append((part, model))))
        call.execution.abort()
        assert aborted == [], "it has no model"
        call.job.target = model = Model.__new__(Model)
        call.execution.abort()
        assert aborted == [(service, model)]
        call.invocation.job = None
        call.execution.abort()
        assert len(aborted) == 1, "it has ended"


# -- done --------------------------------------------------------------------------------------------------------------


def ended(call: Call, result: outcome.Outcome[Any]) -> Client:
    call.execution.done(result)
    return call.client


async def test_the_result_is_the_answer_and_a_function_makes_it() -> None:
    async with assembled() as service:
        assert ended(Call(service, method()), outcome.Value({"x": 1})).result == {"x": 1}
        assert ended(Call(service, method()), outcome.Value(lambda: {"x": 2})).result == {"x": 2}


async def test_the_job_holds_nothing_of_the_call_any_more() -> None:
    async with assembled() as service:
        results: list[Any] = [outcome.Value({}), outcome.Error(FAILED)]
        for result in results:
            call = Call(service, method())
            ended(call, result)
            assert call.invocation.job is None


async def test_a_call_that_was_cancelled_in_vain_has_no_result_but_a_load_has_its_handle() -> None:
    async with assembled() as service:
        call = Call(service, method())
        call.job.cancelled = True
        assert ended(call, outcome.Value({"x": 1})).kind == "Cancelled"
        load = Call(service, method(changes=frozenset({"llm"})))
        load.job.cancelled = True
        assert ended(load, outcome.Value({"handle": 1})).result == {"handle": 1}
        stream = Call(service, method())
        stream.job.cancelled = True
        assert ended(stream, outcome.Value(lambda: {"finish_reason": "abort"})).error is None


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (outcome.Value(dict), "Timeout"),
        (outcome.Error(Cancelled("It was cancelled.", lost=[1])), "Timeout"),
        (outcome.Error(FAILED), "RuntimeError"),
    ],
    ids=["generation", "cancelled", "failed"],
)
async def test_a_call_that_took_too_long_is_told_so_unless_it_failed_by_itself(result: Any, kind: str) -> None:
    async with assembled() as service:
        call = Call(service, method())
        call.job.timeout = Timeout(TIMEOUT.message, **TIMEOUT.data)
        client = ended(call, result)
        assert client.kind == kind
        assert client.error is not None
        lost = getattr(getattr(result, "error", None), "data", {}).get("lost")
        assert client.error["data"].get("lost") == lost, "what became of the models that a load was to replace"


@pytest.mark.parametrize(
    ("error", "kind"),
    [(FAILED, "RuntimeError"), (ZeroDivisionError(), "InternalError"), (SystemExit(1), "InternalError")],
)
async def test_an_error_is_the_answer_and_what_was_to_go_along_is_closed(error: BaseException, kind: str) -> None:
    async with assembled() as service:
        call = Call(service, method())
        memory = os.memfd_create("result")
        call.invocation.fds = Descriptors([memory])
        with capture_logs() as logs:
            assert ended(call, outcome.Error(error)).kind == kind
        assert bool(logs) is not isinstance(error, RpcError)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(memory)
        assert error.__traceback__ is None, "its frames would keep what the client has sent"


async def test_what_a_client_has_sent_goes_with_an_error_that_was_made_of_another() -> None:
    """Without the garbage collector, which comes after many small objects, and not after a few large ones."""

    class Sent:
        pass

    sent: list[weakref.ref[Sent]] = []

    def refuses(*_: Any, **__: Any) -> None:
        value = Sent()
        sent.append(weakref.ref(value))
        fault = ValueError("which its own frame refers to")
        try:
            raise fault
        except ValueError:
            raise InvalidParams("It is refused.") from None

    async with assembled() as service:
        call = Call(service, method(call=refuses))
        gc.disable()
        try:
            assert ended(call, outcome.capture(refuses)).kind == "InvalidParams"
            assert sent[0]() is None
        finally:
            gc.enable()
