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

from rkllmd import members, params, rknn_runs
from rkllmd.abi.convert import to_c, to_c_array
from rkllmd.abi.rkllm import RKLLMInferMode
from rkllmd.attachments import Attachments, NotYet
from rkllmd.context import Client, Context, Invocation
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
from rkllmd.fair_queue import PRIORITIES, UNRESOLVED
from rkllmd.handles import Model, resolve
from rkllmd.interruption import Interruption, is_interrupted, obeying
from rkllmd.jsonrpc import Call
from rkllmd.long_strings import LongString
from rkllmd.method import Handle, Kind, Method, Struct
from rkllmd.model_loading import in_use
from rkllmd.npu import Job, as_error
from rkllmd.paths import absolute
from rkllmd.progress import Load
from rkllmd.rknn_handles import Context as RknnContext
from rkllmd.rknn_handles import Matmul
from rkllmd.written_paths import as_written

_LLM: Final = ("llm",)
_RKNN: Final = "rknn."
# For methods whose parameters refer to nothing beside their JSON.
_NOTHING: Final = Attachments()


@dataclass(slots=True)
class Converted:
    """A struct or tensor parameter: the C struct (or array), and where its fields stood in the client's JSON.

    ``keep`` holds everything that C may read through its pointers: as long as this object lives, so do they.
    ``sources`` has what its tensors refer to. A raw one has no ``c``: the function converts it.
    """

    c: Any
    json: Any
    path: str
    sources: Attachments
    keep: list[Any] = field(default_factory=list)

    @property
    def members(self) -> list[tuple[Any, str]]:
        """Return each member of an array with its place in the client's JSON; what is no array is its only member."""
        if not isinstance(self.json, list):
            return [(self.json, self.path)]
        return [(member, f"{self.path}[{index}]") for index, member in enumerate(self.json)]


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


def prepare(context: Context, client: Client, call: Call) -> Prepared:
    """Find the method, bind, validate and convert the parameters. Raises RpcError; nothing has been executed then.

    A call without a handle that waits behind a load means what will be there when its turn comes: it is completed then,
    so that a script may send rkllm.init and rkllm.run in one go. So is a question that could be answered at once if
    there were a model already.
    """
    method = context.methods.get(call.method)
    if method is None:
        raise _not_found(context, call.method)
    if call.members.get("reply_fds"):
        _check_reply_fds(call)
    members.lift(method, call)
    given = params.bind(method, call.params) if call.params or method.needs_params else {}
    attachments = _NOTHING
    if method.takes_tensors:
        attachments = Attachments(call.fds, partial(context.memories.get, client=client.number))
    prepared = Prepared(method, given, attachments)
    handle = method.handle
    is_open = handle is not None and handle.name not in given and context.npu.queue.changes(handle.kinds)
    if not (is_open and method.kind is not Kind.INSTANT):
        try:
            _complete(context, client, prepared)
        except NotYet:
            prepared.objects.clear()  # all of it on the worker thread, then
        except ModelNotInitialized:
            if not is_open or method.known is None:
                raise
            prepared.objects.clear()
    if method.prepare is not None and prepared.arguments is not None:
        prepared.arguments = {"prepared": method.prepare(context, client, call, **prepared.arguments)}
    return prepared


def _check_reply_fds(call: Call) -> None:
    if call.members["reply_fds"] is not True or call.batch is not None or call.is_notification:
        raise InvalidParams(
            'The member "reply_fds" is true or false, and not for batches and notifications.',
            member="reply_fds",
            keyword="type",
            limit="boolean",
        )


def _complete(context: Context, client: Client, prepared: Prepared) -> None:
    """Resolve the handles and convert the structs."""
    method, given = prepared.method, prepared.given
    arguments: dict[str, Any] = {}
    # The leading handle last: a tensor memory tells which context is meant.
    for handle in reversed(method.handles):
        resolved = _resolve(context, client, prepared, handle)
        prepared.objects.insert(0, resolved)
        arguments[handle.argument] = resolved
    for parameter in method.converted_parameters:
        if isinstance(parameter, Struct):
            item = given.get(parameter.name)
            if item is not None or not parameter.raw:
                found = params.Given({}, "$") if item is None else item
                arguments[parameter.name] = _convert(context, parameter, found, prepared)
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


def _resolve(context: Context, client: Client, prepared: Prepared, parameter: Handle) -> Any:
    item = prepared.given.get(parameter.name)
    number = None if item is None else item.value
    if parameter.kinds == _LLM:
        return context.models.get(number, client.number)
    if item is None and prepared.objects:
        parent = prepared.objects[0].parent
        if {"context", "matmul"} <= set(parameter.kinds):
            return parent  # C wants the one that made the memory, whosever it is
        if isinstance(parent, Matmul if "matmul" in parameter.kinds else RknnContext):
            number = parent.number  # and looked up as any handle: it may be another client's
    return resolve([context.handles[kind] for kind in parameter.kinds], number, client.number)


def _convert(context: Context, parameter: Struct, item: params.Given, prepared: Prepared) -> Converted:
    converted = Converted(None, item.value, item.path, prepared.attachments)
    if parameter.raw:
        return converted
    library = context.runtime.library
    struct_type = library.layout.structs[parameter.c_type]
    defaults = {"RKLLMParam": context.runtime.defaults} if context.runtime.defaults is not None else {}
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


def start(context: Context, client: Client, call: Call, prepared: Prepared) -> Job | None:
    """Execute an instant or ordered call at once, or queue it; return its job if it was queued. Raises RpcError."""
    method = prepared.method
    invocation = Invocation(context, client, call, method)
    if prepared.is_complete:
        prepared.check_alive("was prepared")
        _check(invocation, prepared)
        if _runs_inline(invocation, prepared):
            with as_written(prepared.given):
                result = method.call(invocation, **(prepared.arguments or {}))
            if method.kind is Kind.ORDERED:
                prepared.target.used_at = time.monotonic()
            client.answer(call, result, invocation.fds)
            return None
    job = Job(
        method.name,
        partial(_work, invocation, prepared),
        partial(_done, invocation),
        client=client,
        target=prepared.target if prepared.is_complete else UNRESOLVED,
        changes=method.changes,
        user=client.user,
        priority=_priority(context, client, call),
        model_name=_model_name(context, prepared),
        between_tokens=_fits_between_tokens(prepared),
        deadlines=context.timeouts.of(method, call.members),
        give_up=partial(client.refuse, call),
        most_tokens=_most_tokens(prepared),
    )
    if context.rknn_runtime.can_be_interrupted and (method.abort is not None or method.name.startswith(_RKNN)):
        invocation.interruption = Interruption()
    if method.abort is not None or invocation.interruption is not None:
        job.abort = partial(_abort, invocation)
        job.ends_soon = method.abort is None
        job.is_kept = bool((prepared.arguments or {}).get("keep"))
    if method.abort is not None:
        job.progressed_at = partial(_progressed_at, invocation)
    if method.is_load:
        job.load = Load(job.model_name)
    invocation.job = job
    context.npu.submit(job)
    call.in_use = True
    return job


def _priority(context: Context, client: Client, call: Call) -> str:
    """Return the priority that the call asks for. Raises InvalidParams, PermissionDenied."""
    priority = call.members.get("priority", "normal")
    if priority not in PRIORITIES:
        raise InvalidParams(
            f'The member "priority" is one of {", ".join(PRIORITIES)}.',
            member="priority",
            keyword="enum",
            limit=list(PRIORITIES),
        )
    if priority == "high" and client.user not in context.config.priority_users:
        raise PermissionDenied(
            "Only the users that the configuration trusts (priority_users) may ask for high priority.",
            setting="priority_users",
        )
    return str(priority)


def _fits_between_tokens(prepared: Prepared) -> bool:
    """Tell whether a call may run while a generation waits at a token: RKNN's that are over when they return."""
    name, extend = prepared.method.name, prepared.given.get("extend")
    goes_on = extend is not None and isinstance(extend.value, dict) and bool(extend.value.get("non_block"))
    # The run that waits may be reading a tensor memory.
    ends = prepared.method.changes - {"memory"} or name == "rknn.destroy_mem"
    return name.startswith(_RKNN) and not ends and not goes_on


def _model_name(context: Context, prepared: Prepared) -> str:
    """Return the file that the call works on, or loads."""
    path = getattr(prepared.target, "path", None)
    if path is None:
        arguments = prepared.arguments or {}
        param, model = arguments.get("param"), arguments.get("model")
        path = param.json.get("model_path") if param is not None else arguments.get("model_path")
        path = next((item.path for item in context.config.models if item.name == path), path)
        if isinstance(model, Converted) and isinstance(model.json, str):  # rknn.init takes a path there too
            path = model.json
    return absolute(str(path or ""), context.config.model_directory)


def _most_tokens(prepared: Prepared) -> int | None:
    """Return after how many tokens a generation ends at the latest, 0 for no limit; None for any other call."""
    infer_params = (prepared.arguments or {}).get("rkllm_infer_params")
    if infer_params is None or infer_params.c.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        return None
    most: int = prepared.target.most_tokens(infer_params.c)
    return max(0, most)


def _runs_inline(invocation: Invocation, prepared: Prepared) -> bool:
    method = prepared.method
    if method.kind is Kind.INSTANT:
        return method.known is None or method.known(invocation, **(prepared.arguments or {}))
    # What is RKNN's belongs to the worker thread, always.
    model = prepared.target
    if method.kind is not Kind.ORDERED or not isinstance(model, Model) or model.is_asleep:
        return False
    npu = invocation.context.npu
    # While the NPU is lost it goes to the worker thread: refused, or the one that tries whether the NPU is back.
    return npu.supervisor.outage is None and not npu.queue.uses(model)


def _check(invocation: Invocation, prepared: Prepared) -> None:
    if prepared.method.check is not None:
        with as_written(prepared.given):
            prepared.method.check(invocation, **(prepared.arguments or {}))


def _abort(invocation: Invocation) -> None:
    job = invocation.job
    if invocation.interruption is not None:
        invocation.interruption.set()
    if job is not None and isinstance(job.target, Model) and invocation.method.abort is not None:
        invocation.method.abort(invocation.context, job.target)


def _progressed_at(invocation: Invocation) -> float:
    """Return when the generation's last token came; 0: none has."""
    return 0.0 if invocation.generation is None else invocation.generation.last_at


# These wait for a run that does not block, or end it. All else waits for its end first: it may use what they change.
_END_RUNS: Final = frozenset({"rknn.wait", "rknn.outputs_get", "rknn.destroy"})


def _work(invocation: Invocation, prepared: Prepared) -> Any:
    """Run on the worker thread."""
    with obeying(invocation.interruption):
        try:
            return _call(invocation, prepared)
        except RuntimeFailure:
            if is_interrupted():
                raise Cancelled("The call was cancelled, and what the runtime did for it was stopped.") from None
            raise


def _call(invocation: Invocation, prepared: Prepared) -> Any:
    if prepared.attachments is not _NOTHING:
        prepared.attachments.is_on_worker = True
    if not prepared.is_complete:
        _complete(invocation.context, invocation.client, prepared)
        _check(invocation, prepared)
        if invocation.job is not None:
            invocation.job.target = prepared.target
            invocation.job.most_tokens = _most_tokens(prepared)
    else:
        prepared.check_alive("waited")
    if invocation.job is not None and invocation.job.load is not None:
        invocation.job.load.begin()
    if prepared.method.kind is not Kind.INSTANT and prepared.method.name not in _END_RUNS:
        rknn_runs.finish(invocation.context, invocation)
    with in_use(invocation.context, prepared.target, wakes=not prepared.method.changes), as_written(prepared.given):
        return prepared.method.call(invocation, **(prepared.arguments or {}))


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


def _not_found(context: Context, name: str) -> MethodNotFound:
    shown = name if len(name) <= 64 else name[:61] + "..."
    # rkllm.chat is close to rkllm.abort only by what all names begin with.
    close = [
        known
        for known in difflib.get_close_matches(shown, context.methods)
        if difflib.get_close_matches(_last_part(shown), [_last_part(known)])
    ]
    hint = f" Did you mean {close[0]}?" if close else " rpc.discover lists them all."
    return MethodNotFound(f"There is no method {shown!r}.{hint}")


def _last_part(method: str) -> str:
    return re.split("[._]", method, maxsplit=1)[-1]  # rkllm_run is what C calls it
