"""From a request to its execution: which method, with which arguments, inline or on the worker.

``prepare`` is pure and may run on a helper thread for big requests; ``start`` runs on the event loop.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import outcome

from rkllmd import __version__, params
from rkllmd.abi.convert import sampling_from, to_c, to_c_array
from rkllmd.context import Client, Context, Invocation
from rkllmd.errors import Cancelled, MethodNotFound, ModelNotInitialized, NotSupported, RpcError
from rkllmd.handles import Model
from rkllmd.jsonrpc import Call
from rkllmd.method import Kind, Method, Struct
from rkllmd.npu import UNRESOLVED, Job, as_error


@dataclass(slots=True)
class Converted:
    """A struct parameter: the C struct (or array), and where its fields stood in the client's JSON.

    ``keep`` holds everything that C may read through its pointers: as long as this object lives, so do they.
    """

    c: Any
    json: Any
    path: str
    keep: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Prepared:
    """A call on its way: what the client gave, and, once the model is known, the arguments for the function."""

    method: Method
    given: dict[str, params.Given]
    model: Model | None = None
    arguments: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether the model is known and everything is converted."""
        return self.arguments is not None


# These change which model a null handle means, for everything that is queued behind them.
_CHANGES_MODELS: Final = frozenset({"rkllm.init", "rkllm.destroy"})


def prepare(context: Context, call: Call) -> Prepared:
    """Find the method, bind, validate and convert the parameters. Raises RpcError; nothing has been executed then.

    A call without a handle that waits behind a load means the model that will be there when its turn comes: it is
    completed then, so that a script may send rkllm.init and rkllm.run in one go.
    """
    method = context.methods.get(call.method)
    if method is None:
        raise _not_found(context, call.method)
    if call.members.get("fds"):
        raise NotSupported(
            "This version takes no file descriptors: send tensors as base64.",
            runtime=f"rkllmd {__version__}",
            needs="a later version",
        )
    prepared = Prepared(method, params.bind(method, call.params) if call.params or method.needs_params else {})
    waits = method.kind is not Kind.INSTANT and method.handle_name not in (None, *prepared.given)
    if not (waits and context.npu.queue.changes_models()):
        _complete(context, prepared)
    return prepared


def _complete(context: Context, prepared: Prepared) -> None:
    """Resolve the handle and convert the structs."""
    method, given = prepared.method, prepared.given
    arguments: dict[str, Any] = {}
    handle_name = method.handle_name
    if handle_name is not None:
        handle = given.get(handle_name)
        prepared.model = arguments["model"] = context.models.get(None if handle is None else handle.value)
    for parameter in method.json_parameters:
        if isinstance(parameter, Struct):
            item = given.get(parameter.name, params.Given({}, "$"))
            arguments[parameter.name] = _convert(context, parameter, item, prepared.model)
        elif parameter.name in given and parameter.name != handle_name:
            arguments[parameter.name] = given[parameter.name].value
    prepared.arguments = arguments


def _convert(context: Context, parameter: Struct, item: params.Given, model: Model | None) -> Converted:
    library = context.runtime.library
    struct_type = library.layout.structs[parameter.c_type]
    defaults = {"RKLLMParam": context.runtime.defaults} if context.runtime.defaults is not None else {}
    if model is not None and "RKLLMSamplingParam" in library.layout.structs:
        # A run that gives some sampling parameters keeps the others as the model was loaded with.
        defaults["RKLLMSamplingParam"] = sampling_from(model.param, library.layout.structs["RKLLMSamplingParam"])
    converted = Converted(None, item.value, item.path)
    convert = to_c_array if isinstance(item.value, list) else to_c
    converted.c = convert(
        item.value, struct_type, item.path, converted.keep, defaults=defaults, runtime=library.runtime
    )
    return converted


def start(context: Context, client: Client, call: Call, prepared: Prepared) -> Job | None:
    """Execute an instant or ordered call at once, or queue it; return its job if it was queued. Raises RpcError."""
    method = prepared.method
    invocation = Invocation(context, client, call, method)
    if prepared.is_complete:
        if prepared.model is not None and not prepared.model.pointer:
            raise ModelNotInitialized("The model was unloaded while the call was prepared.")
        _check(invocation, prepared)
        idle = method.kind is Kind.ORDERED and not context.npu.queue.uses(prepared.model)
        if method.kind is Kind.INSTANT or idle:
            client.answer(call, method.call(invocation, **(prepared.arguments or {})))
            return None
    job = Job(
        method.name,
        partial(_work, invocation, prepared),
        partial(_done, invocation),
        client=client,
        model=prepared.model if prepared.is_complete else UNRESOLVED,
        changes_models=method.name in _CHANGES_MODELS,
    )
    if method.abort is not None:
        job.abort = partial(_abort, invocation, job)
    invocation.job = job
    context.npu.submit(job)
    return job


def _check(invocation: Invocation, prepared: Prepared) -> None:
    if prepared.method.check is not None:
        prepared.method.check(invocation, **(prepared.arguments or {}))


def _abort(invocation: Invocation, job: Job) -> None:
    if isinstance(job.model, Model) and invocation.method.abort is not None:
        invocation.method.abort(invocation.context, job.model)


def _work(invocation: Invocation, prepared: Prepared) -> Any:
    """Run on the worker thread."""
    if not prepared.is_complete:
        _complete(invocation.context, prepared)
        _check(invocation, prepared)
        if invocation.job is not None:
            invocation.job.model = prepared.model
    elif prepared.model is not None and not prepared.model.pointer:
        raise ModelNotInitialized("The model was unloaded while the call waited.")
    return prepared.method.call(invocation, **(prepared.arguments or {}))


def _done(invocation: Invocation, result: outcome.Outcome[Any]) -> None:
    """Answer a queued call, on the event loop. A method that streams returns a function that makes its result."""
    client, call = invocation.client, invocation.call
    try:
        value = result.unwrap()
        if callable(value):
            value = value()
        elif invocation.is_cancelled and call.method not in _CHANGES_MODELS:
            # (A load undoes itself when it is cancelled in time; after that its handle must be told, or nobody has it.)
            raise Cancelled("The call was cancelled; it could not be interrupted and had ended by then.")
    except BaseException as error:  # also a SystemExit from the work: the call is answered, whatever happened
        client.refuse(call, as_error(error, call.method))
    else:
        client.answer(call, value)


def refuse(client: Client, call: Call, error: Exception) -> None:
    """Answer a call that could not be started."""
    client.refuse(call, error if isinstance(error, RpcError) else as_error(error, call.method))


def _not_found(context: Context, name: str) -> MethodNotFound:
    if name.startswith("rknn."):
        return MethodNotFound("This version serves RKLLM; the RKNN functions come in a later one.")
    shown = name if len(name) <= 64 else name[:61] + "..."
    close = difflib.get_close_matches(shown, context.methods, n=1)
    hint = f" Did you mean {close[0]}?" if close else " rpc.discover lists them all."
    return MethodNotFound(f"There is no method {shown!r}.{hint}")
