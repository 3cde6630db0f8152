"""From a request to its execution: which method, with which arguments, inline or on the worker.

``prepare`` is pure and may run on a helper thread for big requests; ``start`` runs on the event loop.
"""

from __future__ import annotations

import difflib
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import outcome

from rkllmd.abi.json.convert import to_c, to_c_array
from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.calls import members, params
from rkllmd.calls.arguments import Converted
from rkllmd.calls.attachments import Attachments, NotYet
from rkllmd.calls.declaration import Handle, Kind, Method, Room, Struct
from rkllmd.calls.failure import as_error
from rkllmd.calls.handles import resolve
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.calls.written_paths import as_written
from rkllmd.errors import (
    Cancelled,
    InvalidHandle,
    InvalidParams,
    MethodNotFound,
    ModelNotInitialized,
    PermissionDenied,
    RpcError,
    RuntimeFailure,
)
from rkllmd.interruption import Interruption, is_interrupted, obeying
from rkllmd.language.models.loading import in_use
from rkllmd.language.models.model import Model
from rkllmd.machine.paths import absolute
from rkllmd.npu.job import UNRESOLVED, Job
from rkllmd.npu.load import Load
from rkllmd.npu.queue import PRIORITIES
from rkllmd.service.parts import Service
from rkllmd.vision import runs
from rkllmd.vision.objects import Context as RknnContext
from rkllmd.vision.objects import Matmul
from rkllmd.wire.jsonrpc import Call
from rkllmd.wire.long_strings import LongString

_LLM: Final = ("llm",)
# For methods whose parameters refer to nothing beside their JSON.
_NOTHING: Final = Attachments()


@dataclass(slots=True)
class Prepared:
    """A call on its way: what the client gave, and, once the handles are known, the arguments for the function."""

    method: Method
    given: dict[str, params.Given]
    attachments: Attachments
    # What the handles stand for, that of the leading one first.
    objects: list[Any] = field(default_factory=list)
    arguments: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether the handles are known and everything is converted."""
        return self.arguments is not None

    @property
    def target(self) -> Any:
        """Return the model or context that the call is for."""
        return self.objects[0] if self.objects else None

    def check_alive(self, when: str) -> None:
        """Raise the error for an object that is gone by now; ``when`` that may have happened."""
        for item in self.objects:
            if item is None or item.is_alive:
                continue
            if isinstance(item, Model):
                raise ModelNotInitialized(f"The model was unloaded while the call {when}.")
            raise InvalidHandle(f"Its handle was released while the call {when}.", handle=item.number)
        if self.attachments is not _NOTHING:
            self.attachments.check()


def prepare(service: Service, client: Client, call: Call) -> Prepared:
    """Find the method, bind, validate and convert the parameters. Raises RpcError; nothing has been executed then.

    A call without a handle that waits behind a load means what will be there when its turn comes: it is completed then,
    so that a script may send rkllm.init and rkllm.run in one go. So is a question that could be answered at once if
    there were a model already.
    """
    method = service.methods.get(call.method)
    if method is None:
        raise _not_found(service, call.method)
    if call.members.get("reply_fds"):
        _check_reply_fds(call)
    members.lift(method, call)
    given = params.bind(method, call.params) if call.params or method.needs_params else {}
    attachments = _NOTHING
    if method.takes_tensors:
        attachments = Attachments(call.fds, partial(service.vision.memories.get, client=client.number))
    prepared = Prepared(method, given, attachments)
    handle = method.handle
    is_open = handle is not None and handle.name not in given and service.npu.queue.changes(handle.kinds)
    if not (is_open and method.kind is not Kind.INSTANT):
        try:
            _complete(service, client, prepared)
        except NotYet:
            prepared.objects.clear()  # all of it on the worker thread, then
        except ModelNotInitialized:
            if not is_open or method.known is None:
                raise
            prepared.objects.clear()
    if method.prepare is not None and prepared.arguments is not None:
        prepared.arguments = {"prepared": method.prepare(service.own(method), client, call, **prepared.arguments)}
    return prepared


def _check_reply_fds(call: Call) -> None:
    if call.members["reply_fds"] is not True or call.batch is not None or call.is_notification:
        raise InvalidParams(
            'The member "reply_fds" is true or false, and not for batches and notifications.',
            member="reply_fds",
            keyword="type",
            limit="boolean",
        )


def _complete(service: Service, client: Client, prepared: Prepared) -> None:
    """Resolve the handles and convert the structs."""
    method, given = prepared.method, prepared.given
    arguments: dict[str, Any] = {}
    # The leading handle last: a tensor memory tells which context is meant.
    for handle in reversed(method.handles):
        resolved = _resolve(service, client, prepared, handle)
        prepared.objects.insert(0, resolved)
        arguments[handle.argument] = resolved
    for parameter in method.converted_parameters:
        if isinstance(parameter, Struct):
            item = given.get(parameter.name)
            if item is not None or not parameter.raw:
                found = params.Given({}, "$") if item is None else item
                arguments[parameter.name] = _convert(service, parameter, found, prepared)
        elif parameter.name in given:
            item = given[parameter.name]
            if parameter.is_tensor:
                arguments[parameter.name] = Converted(None, item.value, item.path, prepared.attachments)
            else:
                arguments[parameter.name] = _plain(item.value, parameter.schema)
    prepared.arguments = arguments


def _plain(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value as Python has it: 8.0 is an integer to JSON Schema, a long string may have been taken out."""
    if isinstance(value, LongString):
        return str(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and "integer" in schema.get("type", ()) else value


def _resolve(service: Service, client: Client, prepared: Prepared, parameter: Handle) -> Any:
    item = prepared.given.get(parameter.name)
    number = None if item is None else item.value
    if parameter.kinds == _LLM:
        return service.language.models.get(number, client.number)
    if item is None and prepared.objects:
        parent = prepared.objects[0].parent
        if {"context", "matmul"} <= set(parameter.kinds):
            return parent  # C wants the one that made the memory, whosever it is
        if isinstance(parent, Matmul if "matmul" in parameter.kinds else RknnContext):
            number = parent.number  # and looked up as any handle: it may be another client's
    return resolve([service.handles[kind] for kind in parameter.kinds], number, client.number)


def _convert(service: Service, parameter: Struct, item: params.Given, prepared: Prepared) -> Converted:
    converted = Converted(None, item.value, item.path, prepared.attachments)
    if parameter.raw:
        return converted
    library = service.language.runtime.library
    struct_type = library.layout.structs[parameter.c_type]
    defaults = (
        {"RKLLMParam": service.language.runtime.defaults} if service.language.runtime.defaults is not None else {}
    )
    model = prepared.target
    if model is not None and "RKLLMSamplingParam" in library.layout.structs:
        # A run that gives some sampling parameters keeps the others as the model was loaded with.
        defaults["RKLLMSamplingParam"] = model.sampling
    convert = to_c_array if isinstance(item.value, list) else to_c
    converted.c = convert(
        item.value,
        struct_type,
        item.path,
        converted.keep,
        defaults=defaults,
        runtime=library.runtime,
        sources=prepared.attachments,
        embedding_width=None if model is None else model.embedding_width,
    )
    return converted


def start(service: Service, client: Client, call: Call, prepared: Prepared) -> Job | None:
    """Execute an instant or ordered call at once, or queue it; return its job if it was queued. Raises RpcError."""
    method = prepared.method
    invocation = Invocation(client, call, method)
    if prepared.is_complete:
        prepared.check_alive("was prepared")
        _check(service, invocation, prepared)
        if _runs_inline(service, invocation, prepared):
            with as_written(prepared.given):
                result = method.call(service.own(method), invocation, **(prepared.arguments or {}))
            if method.kind is Kind.ORDERED:
                prepared.target.used_at = time.monotonic()
            client.answer(call, result, invocation.fds)
            return None
    is_generation = method.abort is not None
    if service.vision.runtime.can_be_interrupted and (is_generation or method.room is Room.VISION):
        invocation.interruption = Interruption()
    model_name = _model_name(service, prepared)
    job = invocation.job = Job(
        method.name,
        partial(_work, service, invocation, prepared),
        partial(_done, invocation),
        client=client,
        target=prepared.target if prepared.is_complete else UNRESOLVED,
        changes=method.changes,
        user=client.user,
        priority=_priority(service, client, call),
        model_name=model_name,
        between_tokens=method.fits_between_tokens(prepared.given),
        proves_npu=method.proves_npu,
        deadlines=service.timeouts.of(method, call.members),
        give_up=partial(client.refuse, call),
        abort=partial(_abort, service, invocation) if is_generation or invocation.interruption is not None else None,
        is_generation=is_generation,
        is_kept=invocation.interruption is not None and bool((prepared.arguments or {}).get("keep")),
        load=Load(model_name) if method.loads else None,
        most_tokens=_most_tokens(prepared),
    )
    service.npu.submit(job)
    call.in_use = True
    return job


def _priority(service: Service, client: Client, call: Call) -> str:
    """Return the priority that the call asks for. Raises InvalidParams, PermissionDenied."""
    priority = call.members.get("priority", "normal")
    if priority not in PRIORITIES:
        raise InvalidParams(
            f'The member "priority" is one of {", ".join(PRIORITIES)}.',
            member="priority",
            keyword="enum",
            limit=list(PRIORITIES),
        )
    if priority == "high" and client.user not in service.config.priority_users:
        raise PermissionDenied(
            "Only the users that the configuration trusts (priority_users) may ask for high priority.",
            setting="priority_users",
        )
    return str(priority)


def _model_name(service: Service, prepared: Prepared) -> str:
    """Return the file that the call works on, or loads; "" where that is not known yet."""
    path = getattr(prepared.target, "path", None)
    if path is None and prepared.method.model_of is not None:
        path = prepared.method.model_of(service.own(prepared.method), **(prepared.arguments or {}))
    return absolute(str(path or ""), service.config.model_directory)


def _most_tokens(prepared: Prepared) -> int | None:
    """Return after how many tokens a generation ends at the latest, 0 for no limit; None for any other call."""
    infer_params = (prepared.arguments or {}).get("rkllm_infer_params")
    if infer_params is None or infer_params.c.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        return None
    most: int = prepared.target.most_tokens(infer_params.c)
    return max(0, most)


def _runs_inline(service: Service, invocation: Invocation, prepared: Prepared) -> bool:
    method = prepared.method
    if method.kind is Kind.INSTANT:
        return method.known is None or method.known(service.own(method), invocation, **(prepared.arguments or {}))
    # What is RKNN's belongs to the worker thread, always.
    model = prepared.target
    if method.kind is not Kind.ORDERED or not isinstance(model, Model) or model.is_asleep:
        return False
    npu = service.npu
    # While the NPU is lost it goes to the worker thread: refused, or the one that tries whether the NPU is back.
    return npu.supervisor.outage is None and not npu.queue.uses(model)


def _check(service: Service, invocation: Invocation, prepared: Prepared) -> None:
    method = prepared.method
    if method.check is not None:
        with as_written(prepared.given):
            method.check(service.own(method), invocation, **(prepared.arguments or {}))


def _abort(service: Service, invocation: Invocation) -> None:
    job, method = invocation.job, invocation.method
    if invocation.interruption is not None:
        invocation.interruption.set()
    if job is not None and isinstance(job.target, Model) and method.abort is not None:
        method.abort(service.own(method), job.target)


def _work(service: Service, invocation: Invocation, prepared: Prepared) -> Any:
    """Run on the worker thread."""
    with obeying(invocation.interruption):
        try:
            return _call(service, invocation, prepared)
        except RuntimeFailure:
            if is_interrupted():
                raise Cancelled("The call was cancelled, and what the runtime did for it was stopped.") from None
            raise


def _call(service: Service, invocation: Invocation, prepared: Prepared) -> Any:
    method, job = prepared.method, invocation.job
    if prepared.attachments is not _NOTHING:
        prepared.attachments.is_on_worker = True
    if not prepared.is_complete:
        _complete(service, invocation.client, prepared)
        _check(service, invocation, prepared)
        if job is not None:
            job.resolve(prepared.target, _model_name(service, prepared), _most_tokens(prepared))
    else:
        prepared.check_alive("waited")
    if job is not None and job.load is not None:
        job.load.begin()
    if method.kind is not Kind.INSTANT and not method.ends_runs:
        runs.finish(service.vision, invocation)
    with in_use(service.language, prepared.target, wakes=not method.changes), as_written(prepared.given):
        return method.call(service.own(method), invocation, **(prepared.arguments or {}))


def _done(invocation: Invocation, result: outcome.Outcome[Any]) -> None:
    """Answer a queued call, on the event loop. A method that streams returns a function that makes its result."""
    client, call, job = invocation.client, invocation.call, invocation.job
    call.in_use = False
    timeout = None if job is None else job.timeout
    try:
        value = result.unwrap()
        if callable(value):
            value = value()
            if timeout is not None:
                raise timeout
        elif invocation.is_cancelled and not invocation.method.changes:
            # (A load undoes itself when it is cancelled in time; after that its handle must be told, or nobody has it.)
            raise Cancelled("The call was cancelled; it could not be interrupted and had ended by then.")
    except BaseException as error:  # also a SystemExit from the work: the call is answered, whatever happened
        invocation.close_fds()
        told = as_error(error, call.method)
        if timeout is not None and isinstance(told, Cancelled):
            timeout.data.update(told.data)  # what became of the models that a load was to replace
            told = timeout
        client.refuse(call, told)
        # Its traceback refers to the frames that called us, and they to the outcome, and that to the error: what is in
        # those frames, a client's descriptors too, would wait for the garbage collector.
        error.__traceback__ = None
    else:
        client.answer(call, value, invocation.fds)
    finally:
        # The job refers to the invocation: what a client has sent would wait for the garbage collector.
        invocation.job = None


def refuse(client: Client, call: Call, error: Exception) -> None:
    """Answer a call that could not be started."""
    client.refuse(call, error if isinstance(error, RpcError) else as_error(error, call.method))
    error.__traceback__ = None  # as in _done: the frames of a helper thread refer to the request and to the error


def _not_found(service: Service, name: str) -> MethodNotFound:
    shown = name if len(name) <= 64 else name[:61] + "..."
    # rkllm.chat is close to rkllm.abort only by what all names begin with.
    close = [
        known
        for known in difflib.get_close_matches(shown, service.methods)
        if difflib.get_close_matches(_last_part(shown), [_last_part(known)])
    ]
    hint = f" Did you mean {close[0]}?" if close else " rpc.discover lists them all."
    return MethodNotFound(f"There is no method {shown!r}.{hint}")


def _last_part(method: str) -> str:
    return re.split("[._]", method, maxsplit=1)[-1]  # rkllm_run is what C calls it
