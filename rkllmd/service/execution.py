"""A queued call whose turn has come: its work on the worker thread, its abort and its answer on the event loop."""

from __future__ import annotations

from typing import cast

import orjson
import outcome

from rkllmd.calls.binding.written_paths import as_written
from rkllmd.calls.declaration import Kind, Method
from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.failure import as_error
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import Cancelled, RuntimeFailure, let_frames_go
from rkllmd.interruption import is_interrupted, obeying
from rkllmd.json_types import Json
from rkllmd.language.model import Model
from rkllmd.language.models.loading import using
from rkllmd.language.runs.run import Run, RunArguments
from rkllmd.machine.crash_journal import Asked
from rkllmd.service.parts import Service
from rkllmd.service.preparation import Prepared, check, complete, model_name, most_tokens
from rkllmd.vision import runs


class Execution:
    """What the job of a call does; only the job refers to it."""

    __slots__ = ("_invocation", "_prepared", "_service")

    def __init__(self, service: Service, invocation: Invocation, prepared: Prepared) -> None:
        self._service = service
        self._invocation = invocation
        self._prepared = prepared

    def work(self) -> Json:
        """Call the method's function, on the worker thread. Raises RpcError, and whatever else the function raises."""
        with obeying(self._invocation.interruption):
            try:
                return self._call()
            except RuntimeFailure:
                if is_interrupted():
                    raise Cancelled("The call was cancelled, and what the runtime did for it was stopped.") from None
                raise

    def _call(self) -> Json:
        service, invocation, prepared = self._service, self._invocation, self._prepared
        method, job = prepared.method, invocation.job
        if isinstance(invocation.client, DetachedCall):
            invocation.client.begin()
        if prepared.objects is not None:
            self.check_alive()
        if not prepared.is_complete:
            complete(service, invocation.client, prepared)
            check(service, invocation, prepared)
            if job is not None:
                job.resolve(prepared.target, model_name(service, prepared), most_tokens(prepared))
        if job is not None and job.load is not None:
            job.load.begin()
        if method.kind is not Kind.INSTANT and not method.ends_runs:
            runs.finish(service.vision, invocation)
        wakes = method.kind is not Kind.INSTANT and not method.changes
        with using(service.language, prepared.target, wakes=wakes), as_written(prepared.given):
            return method.call(service.own(method), invocation, **prepared.arguments)

    @property
    def method(self) -> Method:
        """Return the method that is called."""
        return self._invocation.method

    def run(self) -> Run:
        """Return the run of a language model that the call is."""
        asked = cast(RunArguments, self._prepared.arguments)
        is_async = self.method.kind is Kind.STREAMING
        return Run.of(self._service.language, self._invocation, asked, asynchronous=is_async)

    def check_alive(self) -> None:
        """Raise the error for an object of the call that is gone by now."""
        self._prepared.check_alive("waited")

    def ask(self) -> Asked:
        """Return what the crash journal is told of it; on any thread."""
        job = self._invocation.job
        if job is None:  # it has ended
            return Asked(self._invocation.method.name)
        return asked(self._invocation, job.target, job.model_name)

    def abort(self) -> None:
        """Make the work end early, on the event loop."""
        invocation = self._invocation
        job, method = invocation.job, invocation.method
        if invocation.interruption is not None:
            invocation.interruption.set()
        if job is not None and isinstance(job.target, Model) and method.abort is not None:
            method.abort(self._service.own(method), job.target)

    def done(self, result: outcome.Outcome[object]) -> None:
        """Answer the call, on the event loop. A method that streams returns a function that makes its result."""
        invocation = self._invocation
        client, call, job = invocation.client, invocation.call, invocation.job
        call.fds.give_back()
        timeout = None if job is None else job.timeout
        try:
            value = result.unwrap()
            if callable(value):
                value = value()
                if job is not None and job.is_cut and not job.answered:
                    value = _cut(value)
                elif timeout is not None:
                    raise timeout
                elif self._service.npu.closing:
                    value = _left(value)
            elif invocation.is_cancelled and not invocation.method.changes:
                # (A load that is cancelled in time undoes itself. If it was too late for that, the client has to get
                # the handle: nobody else would have it.)
                raise Cancelled("The call was cancelled; it could not be interrupted and had ended by then.")
        except BaseException as error:  # also a SystemExit from the work: the call is answered, whatever happened
            invocation.fds.close()
            told = as_error(error, call.method)
            if timeout is not None and isinstance(told, Cancelled):
                timeout.data.update(told.data)  # what became of the models that a load was to replace
                told = timeout
            client.refuse(call, told)
            # They refer to the outcome, and that to the error: what is in them, such as a client's descriptors, would
            # wait for the garbage collector.
            let_frames_go(error)
        else:
            client.answer(call, value, invocation.fds)
        finally:
            # The job refers to the invocation: what a client has sent would wait for the garbage collector.
            invocation.job = None


def _cut(result: Json) -> Json:
    """Return the result of a generation that was aborted since it had run as long as it may."""
    return {**result, "finish_reason": "timeout"} if result.get("finish_reason") == "abort" else result


def _left(result: Json) -> Json:
    """Return the result of a generation that was aborted since the daemon leaves."""
    return {**result, "shutting_down": True} if result.get("finish_reason") == "abort" else result


def asked(invocation: Invocation, target: object, path: str = "") -> Asked:
    """Return what the crash journal is told of a call for this object; ``path``: the file that it is to load."""
    client, call_id = invocation.client, invocation.call.id
    return Asked(
        invocation.method.name,
        target,
        path,
        client.pid,
        client.user,
        "" if call_id is None else orjson.dumps(call_id).decode(),
        client.id if isinstance(client, DetachedCall) and client.kept is not None else "",
    )
