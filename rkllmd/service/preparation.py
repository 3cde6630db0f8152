"""From a request to the arguments of its function: which method, for which objects, with what in C.

``prepare`` changes nothing, and may run on a helper thread, for big requests and for what takes long. What can't be
known or read before the call has its turn is left to ``complete``, on the worker thread.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import field
from functools import partial
from typing import Final, cast

import trio

from rkllmd.abi.json.convert import to_c, to_c_array
from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.calls import authority
from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding import members_in_params, params
from rkllmd.calls.binding.attachments import Attachments, are_named_in
from rkllmd.calls.binding.written_paths import as_written
from rkllmd.calls.declaration import Handle, Kind, Method, StructParameter
from rkllmd.calls.handles import Live, resolve
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.errors import InvalidHandle, MethodNotFound, ModelNotInitialized
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.model import Model
from rkllmd.machine.paths import absolute
from rkllmd.npu.job import UNRESOLVED
from rkllmd.quick_dataclass import dataclass
from rkllmd.service.parts import Service
from rkllmd.spared_imports import AT_ONCE, TakesLong
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.wire.jsonrpc import Call
from rkllmd.wire.long_strings import LongString
from rkllmd.wire.members import NO_MEMBERS, refused_reply_fds

_LLM: Final = ("llm",)
# For methods whose parameters do not refer to anything beside their JSON.
_NOTHING: Final = Attachments()


@dataclass(slots=True)
class Prepared:
    """A call on its way: what the client gave, and the arguments of the function as far as they are known by now."""

    method: Method
    given: dict[str, params.Given]
    attachments: Attachments
    # Both are empty until the handles are resolved and everything is converted.
    arguments: dict[str, object] = field(default_factory=dict)
    # The objects of the handles, that of the leading one first.
    objects: list[Live | None] | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the handles are resolved and everything is converted."""
        return self.objects is not None

    @property
    def target(self) -> object:
        """Return the model or context that the call is for: None if there is none, UNRESOLVED while it may be any."""
        if self.objects is None:
            return UNRESOLVED
        return self.objects[0] if self.objects else None

    def forget(self) -> None:
        """Forget what was resolved and converted: when the call has its turn, a handle may mean another object."""
        self.objects = None
        self.arguments = {}

    def check_alive(self, when: str) -> None:
        """Raise the error for an object that is gone by now; ``when`` says what the call was doing meanwhile."""
        for item in self.objects or ():
            if item is None or item.is_alive:
                continue
            if isinstance(item, Model):
                raise ModelNotInitialized(f"The model was unloaded while the call {when}.")
            raise InvalidHandle(f"Its handle was released while the call {when}.", handle=item.number)


def prepare(service: Service, client: Client, call: Call, model: int | None = None) -> Prepared:
    """Find the method; bind, validate and convert the parameters. Raises RpcError; then nothing was executed.

    A call without a handle that waits behind a load means the object that is there when its turn comes: so it is
    completed then, and a script may send rkllm.init and rkllm.run in one go. The same goes for a question that could
    have been answered at once if there had been a model already. ``model``: the handle that a missing one means.
    """
    method = service.methods.get(call.method)
    if method is None:
        raise _not_found(service, call.method)
    if call.members is not NO_MEMBERS:
        _check_reply_fds(call)
    if call.params:
        members_in_params.lift(method, call)
    given = params.bind(method, call.params) if call.params or method.needs_params else {}
    attachments = _NOTHING
    handle = method.handle
    if model is not None and handle is not None and _is_left_out(given.get(handle.name)):
        given[handle.name] = params.Given(model, "$")
    if method.takes_tensors:
        attachments = Attachments(call.fds, partial(service.vision.memories.get, client=client.number))
    prepared = Prepared(method, given, attachments)
    is_open = handle is not None and handle.name not in given and service.npu.queue.changes(handle.types)
    if is_open and method.kind is not Kind.INSTANT:
        return prepared
    try:
        _resolve(service, client, prepared)
    except ModelNotInitialized:
        if not is_open or method.known is None:
            raise
        return prepared
    if method.converted_parameters and not _convert(service, prepared, reads=False):
        prepared.forget()
        return prepared
    if method.prepare is not None:
        prepared.arguments = {"prepared": method.prepare(service.own(method), client, call, **prepared.arguments)}
    return prepared


def prepare_at_once(service: Service, client: Client, call: Call) -> Prepared | None:
    """Prepare a call on the event loop; None if that would take long, as to import what a refusal needs.

    Raises RpcError.
    """
    try:
        with AT_ONCE:
            return prepare(service, client, call)
    except TakesLong:
        return None


async def prepare_apart(service: Service, client: Client, call: Call) -> Prepared:
    """Prepare a call on a helper thread, also one that could not be prepared at once. Raises RpcError."""
    # Shielded: a call's descriptors are closed by its answer, also if the client has left meanwhile.
    with trio.CancelScope(shield=True):
        prepared = await trio.to_thread.run_sync(prepare, service, client, call)
    return prepared  # noqa: RET504 - to mypy, the scope might swallow an exception


def complete(service: Service, client: Client, prepared: Prepared) -> None:
    """Do what ``prepare`` has left to do; on the worker thread, since only that may read what a tensor refers to.

    Raises RpcError.
    """
    _resolve(service, client, prepared)
    _convert(service, prepared, reads=True)


def check(service: Service, invocation: Invocation, prepared: Prepared) -> None:
    """Let the method check the complete call before its C function is called. Raises RpcError."""
    method = prepared.method
    if method.check is not None:
        with as_written(prepared.given):
            method.check(service.own(method), invocation, **prepared.arguments)


def model_name(service: Service, prepared: Prepared) -> str:
    """Return the file that the call works on, or loads; "" if that is not known yet."""
    path = getattr(prepared.target, "path", None)
    if path is None and prepared.method.model_of is not None:
        path = prepared.method.model_of(service.own(prepared.method), **prepared.arguments)
    return absolute(str(path or ""), service.config.model_directory)


def most_tokens(prepared: Prepared) -> int | None:
    """Return after how many tokens a generation ends at the latest, 0 for no limit; None for any other call."""
    infer_params = prepared.arguments.get("rkllm_infer_params")
    if not isinstance(infer_params, Converted) or infer_params.c.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        return None
    return max(0, cast(Model, prepared.target).most_tokens(infer_params))


def _is_left_out(item: params.Given | None) -> bool:
    return item is None or not item.value  # 0 is C's null


def _resolve(service: Service, client: Client, prepared: Prepared) -> None:
    """Find the objects of the handles, and refuse a change of a shared one to those who may not do it."""
    objects: list[Live | None] = []
    # The leading handle is the last: a tensor memory says which context is meant.
    for handle in reversed(prepared.method.handles):
        found = _object_of(service, client, handle, prepared.given.get(handle.name), objects)
        objects.insert(0, found)
        prepared.arguments[handle.argument] = found
    if prepared.method.alters is not None:
        _check_authority(service, client, prepared.arguments[prepared.method.alters])
    prepared.objects = objects


def _check_authority(service: Service, client: Client, item: object) -> None:
    if not isinstance(item, Model | Context | Matmul | TensorMemory):
        return
    for handles in service.handles.values():
        if handles.is_shared(item.number):
            noun = handles.noun[:1].upper() + handles.noun[1:]
            authority.check(service.config, client.user, item.user, noun, item.number)


def _object_of(
    service: Service, client: Client, handle: Handle, item: params.Given | None, behind: list[Live | None]
) -> Live | None:
    """Return the object of a handle; ``behind``: the objects of the handles behind it."""
    number = None if item is None else item.value
    if handle.types == _LLM:
        return service.language.models.get(number, client.number)
    if item is None and behind:
        memory = behind[0]
        assert isinstance(memory, TensorMemory)  # nothing else stands behind another handle
        parent = memory.parent
        if {"context", "matmul"} <= set(handle.types):
            return parent  # C wants the context that made the memory, whoever owns it
        if isinstance(parent, Matmul if "matmul" in handle.types else Context):
            number = parent.number  # it is looked up like any handle, since it may belong to another client
    return resolve([service.handles[handle_type] for handle_type in handle.types], number, client.number)


def _convert(service: Service, prepared: Prepared, *, reads: bool) -> bool:
    """Convert the parameters; those that refer to attachments only if ``reads``. Return whether all are converted.

    Attachments are for the worker thread: to read megabytes takes long, and a memory must not be destroyed meanwhile.
    """
    given, arguments = prepared.given, prepared.arguments
    is_all = True
    for parameter in prepared.method.converted_parameters:
        item = given.get(parameter.name)
        if isinstance(parameter, StructParameter):
            if not (reads or parameter.raw or item is None) and are_named_in(item.value):
                is_all = False
            elif item is not None or not parameter.raw:
                found = params.Given({}, "$") if item is None else item
                arguments[parameter.name] = _struct(service, parameter, found, prepared)
        elif item is not None and parameter.is_tensor:
            arguments[parameter.name] = Converted(None, item.value, item.path, prepared.attachments)
        elif item is not None:
            arguments[parameter.name] = _plain(item.value, parameter.schema)
    return is_all


def _plain(value: Json, schema: JsonObject) -> Json:
    """Return a value as Python has it: for JSON Schema 8.0 is an integer, and a long string may be a LongString."""
    if isinstance(value, LongString):
        return str(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and "integer" in schema.get("type", ()) else value


def _struct(service: Service, parameter: StructParameter, item: params.Given, prepared: Prepared) -> Converted:
    converted = Converted(None, item.value, item.path, prepared.attachments)
    if parameter.raw:
        return converted
    library = service.language.runtime.library
    struct_type = library.layout.structs[parameter.c_type]
    defaults = (
        {"RKLLMParam": service.language.runtime.defaults} if service.language.runtime.defaults is not None else {}
    )
    model = prepared.target
    if isinstance(model, Model) and "RKLLMSamplingParam" in library.layout.structs:
        # If a run gives only some sampling parameters, the others are those with which the model was loaded.
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
        embedding_width=model.embedding_width if isinstance(model, Model) else None,
    )
    return converted


def _check_reply_fds(call: Call) -> None:
    call.members.check("reply_fds")
    if call.members.reply_fds and (call.batch is not None or call.is_notification):
        raise refused_reply_fds()


def _not_found(service: Service, name: str) -> MethodNotFound:
    shown = name if len(name) <= 64 else name[:61] + "..."
    # What all names begin with makes rkllm.chat close to rkllm.abort: their last parts have to be close as well.
    close = [
        known
        for known in difflib.get_close_matches(shown, service.methods)
        if difflib.get_close_matches(_last_part(shown), [_last_part(known)])
    ]
    hint = f" Did you mean {close[0]}?" if close else " rpc.discover lists them all."
    return MethodNotFound(f"There is no method {shown!r}.{hint}")


def _last_part(method: str) -> str:
    return re.split("[._]", method, maxsplit=1)[-1]  # also of the C name: rkllm_run
