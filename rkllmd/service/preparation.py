"""From a request to the arguments of its function: which method, for which objects, with what in C.

``prepare`` is pure and may run on a helper thread for big requests. What can't be known or read before the call has its
turn is left to ``complete``, on the worker thread.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from rkllmd.abi.json.convert import to_c, to_c_array
from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding import members_in_params, params
from rkllmd.calls.binding.attachments import Attachments, are_named_in
from rkllmd.calls.binding.written_paths import as_written
from rkllmd.calls.declaration import Handle, Kind, Method, Struct
from rkllmd.calls.handles import resolve
from rkllmd.calls.invocation import Client, Invocation
from rkllmd.errors import InvalidHandle, MethodNotFound, ModelNotInitialized
from rkllmd.language.model import Model
from rkllmd.machine.paths import absolute
from rkllmd.npu.job import UNRESOLVED
from rkllmd.service.parts import Service
from rkllmd.vision.objects import Context, Matmul
from rkllmd.wire.jsonrpc import Call
from rkllmd.wire.long_strings import LongString
from rkllmd.wire.members import NO_MEMBERS, refused_reply_fds

_LLM: Final = ("llm",)
# For methods whose parameters refer to nothing beside their JSON.
_NOTHING: Final = Attachments()


@dataclass(slots=True)
class Prepared:
    """A call on its way: what the client gave, and what is known by now of the arguments for the function."""

    method: Method
    given: dict[str, params.Given]
    attachments: Attachments
    # Both are empty until the handles are resolved and everything is converted.
    arguments: dict[str, Any] = field(default_factory=dict)
    # What the handles stand for, that of the leading one first.
    objects: list[Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the handles are resolved and everything is converted."""
        return self.objects is not None

    @property
    def target(self) -> Any:
        """Return the model or context that the call is for: None if there is none, UNRESOLVED while it may be any."""
        if self.objects is None:
            return UNRESOLVED
        return self.objects[0] if self.objects else None

    def forget(self) -> None:
        """Forget what is resolved and converted: when the call has its turn, a handle may stand for something else."""
        self.objects = None
        self.arguments = {}

    def check_alive(self, when: str) -> None:
        """Raise the error for an object that is gone by now; ``when`` that may have happened."""
        for item in self.objects or ():
            if item is None or item.is_alive:
                continue
            if isinstance(item, Model):
                raise ModelNotInitialized(f"The model was unloaded while the call {when}.")
            raise InvalidHandle(f"Its handle was released while the call {when}.", handle=item.number)


def prepare(service: Service, client: Client, call: Call) -> Prepared:
    """Find the method, bind, validate and convert the parameters. Raises RpcError; nothing has been executed then.

    A call without a handle that waits behind a load means what will be there when its turn comes: it is completed then,
    so that a script may send rkllm.init and rkllm.run in one go. So is a question that could be answered at once if
    there were a model already.
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
    if method.takes_tensors:
        attachments = Attachments(call.fds, partial(service.vision.memories.get, client=client.number))
    prepared = Prepared(method, given, attachments)
    handle = method.handle
    is_open = handle is not None and handle.name not in given and service.npu.queue.changes(handle.kinds)
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


def complete(service: Service, client: Client, prepared: Prepared) -> None:
    """Do what ``prepare`` has left, on the worker thread, which alone may read what a tensor refers to.

    Raises RpcError.
    """
    _resolve(service, client, prepared)
    _convert(service, prepared, reads=True)


def check(service: Service, invocation: Invocation, prepared: Prepared) -> None:
    """Let the method refuse the complete call before its C function is called. Raises RpcError."""
    method = prepared.method
    if method.check is not None:
        with as_written(prepared.given):
            method.check(service.own(method), invocation, **prepared.arguments)


def model_name(service: Service, prepared: Prepared) -> str:
    """Return the file that the call works on, or loads; "" where that is not known yet."""
    path = getattr(prepared.target, "path", None)
    if path is None and prepared.method.model_of is not None:
        path = prepared.method.model_of(service.own(prepared.method), **prepared.arguments)
    return absolute(str(path or ""), service.config.model_directory)


def most_tokens(prepared: Prepared) -> int | None:
    """Return after how many tokens a generation ends at the latest, 0 for no limit; None for any other call."""
    infer_params = prepared.arguments.get("rkllm_infer_params")
    if infer_params is None or infer_params.c.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        return None
    most: int = prepared.target.most_tokens(infer_params.c)
    return max(0, most)


def _resolve(service: Service, client: Client, prepared: Prepared) -> None:
    """Find what the handles stand for."""
    objects: list[Any] = []
    # The leading handle last: a tensor memory tells which context is meant.
    for handle in reversed(prepared.method.handles):
        found = _object_of(service, client, handle, prepared.given.get(handle.name), objects)
        objects.insert(0, found)
        prepared.arguments[handle.argument] = found
    prepared.objects = objects


def _object_of(service: Service, client: Client, handle: Handle, item: params.Given | None, behind: list[Any]) -> Any:
    """Return what a handle stands for; ``behind``: what those behind it stand for."""
    number = None if item is None else item.value
    if handle.kinds == _LLM:
        return service.language.models.get(number, client.number)
    if item is None and behind:
        parent = behind[0].parent
        if {"context", "matmul"} <= set(handle.kinds):
            return parent  # C wants the one that made the memory, whosever it is
        if isinstance(parent, Matmul if "matmul" in handle.kinds else Context):
            number = parent.number  # and looked up as any handle: it may be another client's
    return resolve([service.handles[kind] for kind in handle.kinds], number, client.number)


def _convert(service: Service, prepared: Prepared, *, reads: bool) -> bool:
    """Convert the parameters, but for structs that refer to attachments unless ``reads``; return whether that is all.

    Such are for the worker thread: reading megabytes takes long, and a memory must not be destroyed meanwhile.
    """
    given, arguments = prepared.given, prepared.arguments
    is_all = True
    for parameter in prepared.method.converted_parameters:
        item = given.get(parameter.name)
        if isinstance(parameter, Struct):
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


def _plain(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value as Python has it: 8.0 is an integer to JSON Schema, a long string may have been taken out."""
    if isinstance(value, LongString):
        return str(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and "integer" in schema.get("type", ()) else value


def _struct(service: Service, parameter: Struct, item: params.Given, prepared: Prepared) -> Converted:
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


def _check_reply_fds(call: Call) -> None:
    call.members.check("reply_fds")
    if call.members.reply_fds and (call.batch is not None or call.is_notification):
        raise refused_reply_fds()


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
