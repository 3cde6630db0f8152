"""How a method is declared: its kind, its parameters in the C order, and the function that serves it.

A function module holds one C function: its signature in the docstring, and one function decorated with ``method``. The
module's name is the method's name: ``rkllmd/rkllm/load_lora.py`` is ``rkllm.load_lora``.

The function is called with the part of the daemon that it works with (``Language``, ``Vision`` or ``Service``), an
``Invocation``, and then the parameters by name: the object of a handle, a ``Converted`` for a struct, the JSON value
otherwise. It returns the result as JSON, or, if it streams, a function that makes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, TypeVar

from rkllmd.abi.json import schemas
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.npu.job import Arrival

# RKLLMExtendParam.n_batch is a uint8.
MAX_INPUTS: Final = 255

F = TypeVar("F", bound=Callable[..., Json])


class Part(StrEnum):
    """The part of the daemon that a method works with: the first argument of its functions."""

    LANGUAGE = "language"  # language.parts.Language
    VISION = "vision"  # vision.parts.Vision
    SERVICE = "service"  # service.parts.Service: all of the daemon


class Kind(StrEnum):
    """Where and when a method runs (protocol, section 3)."""

    INSTANT = "instant"  # inline on the event loop, at any time, without C
    ORDERED = "ordered"  # on the worker thread, in its turn; it needs no NPU and is short
    NPU = "npu"  # on the worker thread, in its turn
    STREAMING = "streaming"  # as npu, with partial results


@dataclass(frozen=True)
class Handle:
    """A handle, a small positive integer, of one of these ``types`` (the names of ``Service.handles``).

    The leading one may be null, 0 or left out, which means the only live one. The function gets the object of the
    handle as ``argument``. ``aliases`` are other names that C gives the same parameter in other functions.
    """

    name: str
    types: tuple[str, ...]
    argument: str
    aliases: tuple[str, ...] = ()
    required: bool = False

    @cached_property
    def schema(self) -> JsonObject:
        """Return the JSON Schema of the handle."""
        if self.required:
            return {"type": "integer", "minimum": 1, "description": f"the handle of a {self.types[0]}"}
        return {"type": ["integer", "null"], "minimum": 0, "description": "null or 0: the only live one"}


@dataclass(frozen=True)
class StructParameter:
    """A pointer to a C struct: in JSON an object with its field names, which is converted to C before the call.

    ``many``: if n_batch is above 1, C takes an array of them, and so does JSON. ``example`` is the field that most
    people give first. ``raw``: the function converts it, since what it means depends on the handle's object.
    ``or_tensors``: in JSON, tensors of any form may stand in the place of such structs; the function checks them.
    ``replaced_by``: the name of a plain value that may stand in the place of a string field, and that field.
    """

    name: str
    c_type: str
    required: bool = True
    required_fields: Sequence[str] = ()
    many: bool = False
    example: str = ""
    raw: bool = False
    or_tensors: bool = False
    replaced_by: tuple[str, str] | None = None

    @cached_property
    def item_schema(self) -> JsonObject:
        """Return the JSON Schema of one struct, by which a request is checked."""
        schema = schemas.struct_schema(self.c_type)
        required = list(dict.fromkeys([*schema.get("required", ()), *self.required_fields]))
        return {**schema, "required": required} if required else schema

    @cached_property
    def fields_schema(self) -> JsonObject:
        """Return the JSON Schema of an object that has only some of the fields."""
        return {keyword: value for keyword, value in self.item_schema.items() if keyword != "required"}

    @cached_property
    def schema(self) -> JsonObject:
        """Return the JSON Schema of the parameter, for discovery."""
        if not self.many:
            return self.item_schema
        item = {"anyOf": [self.item_schema, schemas.TENSOR]} if self.or_tensors else self.item_schema
        array = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_INPUTS}
        return {"anyOf": [self.item_schema, array]}

    @cached_property
    def field_names(self) -> frozenset[str]:
        """Return the names that the flat form takes for this struct."""
        return frozenset(schemas.struct_schema(self.c_type)["properties"])

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Return the names of the fields that no tensor has: an object with one of them is the struct."""
        return self.field_names - schemas.TENSOR_MEMBERS


@dataclass(frozen=True)
class Value:
    """A plain value: an integer, a string, an array of positions.

    ``in_c``: false if C does not have it; then it has a name but no position. ``is_tensor``: the function gets a
    ``Converted``, to read what the JSON refers to. ``aliases`` are other names under which clients know it.
    """

    name: str
    schema: JsonObject = field(hash=False)
    required: bool = True
    in_c: bool = True
    is_tensor: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Count(Value):
    """How many elements the array parameter ``of`` has, for C. In JSON it is left out, null, or exactly that number.

    ``alone``: it means something if the array was left out; then, and only then, the function gets it.
    """

    schema: JsonObject = field(
        hash=False,
        default_factory=lambda: {"type": ["integer", "null"], "minimum": 0, "maximum": 2**32 - 1},
    )
    required: bool = False
    of: str = ""
    alone: bool = False


@dataclass(frozen=True)
class COnly:
    """A position that only C has (out-parameter, callback, userdata): null, or left out."""

    name: str
    required = False


Parameter = Handle | StructParameter | Value | COnly

# Of functions that load a model.
FORCE: Final = Value(
    "force",
    {"type": "boolean", "description": "load it even if it is set aside (Quarantined)"},
    required=False,
    in_c=False,
)


@dataclass(frozen=True, eq=False)
class Declaration:
    """What ``method`` leaves on the function for the registry to find; its arguments are described there."""

    kind: Kind
    parameters: tuple[Parameter, ...] = ()
    check: Callable[..., None] | None = None
    abort: Callable[..., None] | None = None
    group: str | None = None
    changes: frozenset[str] = frozenset()
    known: Callable[..., bool] | None = None
    prepare: Callable[..., object] | None = None
    loads: bool = False
    fits_between_tokens: bool | Callable[..., bool] | None = None
    ends_runs: bool = False
    proves_npu: bool = False
    model_of: Callable[..., str | None] | None = None
    repeatable: bool | frozenset[str] = False
    alters: str | None = None
    together: Callable[..., tuple[Hashable, int] | None] | None = None
    arrives: Callable[..., Callable[[], Arrival]] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Method(Declaration):
    """A callable method: what its module declares, with its name.

    ``name`` is the one on the wire; ``summary`` and ``c_signature`` are for people and discovery.
    """

    name: str
    call: Callable[..., Json]
    summary: str = ""
    c_signature: str | None = None
    part: Part = Part.SERVICE

    def may_run_between_tokens(self, given: Mapping[str, object]) -> bool:
        """Return whether a call with these parameters may run while a generation waits at a token."""
        return self.fits_between_tokens(given) if callable(self.fits_between_tokens) else bool(self.fits_between_tokens)

    @cached_property
    def json_parameters(self) -> tuple[Handle | StructParameter | Value, ...]:
        """Return the parameters that JSON has, in the C order."""
        return tuple(item for item in self.parameters if not isinstance(item, COnly))

    @cached_property
    def converted_parameters(self) -> tuple[StructParameter | Value, ...]:
        """Return the parameters that are no handles."""
        return tuple(item for item in self.json_parameters if not isinstance(item, Handle))

    @cached_property
    def handles(self) -> tuple[Handle, ...]:
        """Return the parameters that are handles, the leading one first."""
        return tuple(item for item in self.parameters if isinstance(item, Handle))

    @cached_property
    def takes_tensors(self) -> bool:
        """Return whether a parameter may refer to descriptors or tensor memories."""
        return any(isinstance(item, StructParameter) or getattr(item, "is_tensor", False) for item in self.parameters)

    @cached_property
    def handle(self) -> Handle | None:
        """Return the leading handle, if there is one."""
        first = self.parameters[0] if self.parameters else None
        return first if isinstance(first, Handle) else None

    @cached_property
    def needs_params(self) -> bool:
        """Return whether a parameter must be given; if not, a call without params needs no binding."""
        return any(parameter.required for parameter in self.parameters)

    @cached_property
    def is_always_inline(self) -> bool:
        """Return whether each call is executed at once, whatever else is going on."""
        return self.kind is Kind.INSTANT and self.known is None

    @property
    def c_function(self) -> str | None:
        """Return the C function's name, or None for the daemon's own methods."""
        return self.c_signature.partition("(")[0].split()[-1].lstrip("*") if self.c_signature else None


def method(
    kind: Kind,
    parameters: Sequence[Parameter] = (),
    *,
    check: Callable[..., None] | None = None,
    abort: Callable[..., None] | None = None,
    group: str | None = None,
    changes: Iterable[str] = (),
    known: Callable[..., bool] | None = None,
    prepare: Callable[..., object] | None = None,
    loads: bool = False,
    fits_between_tokens: bool | Callable[..., bool] | None = None,
    ends_runs: bool = False,
    proves_npu: bool = False,
    model_of: Callable[..., str | None] | None = None,
    repeatable: bool | frozenset[str] = False,
    alters: str | None = None,
    together: Callable[..., tuple[Hashable, int] | None] | None = None,
    arrives: Callable[..., Callable[[], Arrival]] | None = None,
) -> Callable[[F], F]:
    """Declare the function that serves this module's method.

    ``check`` is called likewise on the event loop before the call is queued: what can be refused must not wait first.
    ``abort``, called with the part and the model on the event loop, makes a running call end early; without it none can
    be interrupted. ``group``: the name under which older clients put several plain parameters into one object.
    ``changes``: the types of handles that a call makes or releases. ``known``: for an instant method, whether the
    daemon knows the answer by itself; if not, the call goes to the worker thread. ``prepare``, for an instant method:
    called with the part, the client, the call and the parameters while the call is prepared, on a helper thread if it
    is long; the function gets what it returns as ``prepared``.

    ``loads``: it reads a model's file into memory, which shows as progress. ``fits_between_tokens``: whether it may run
    while a generation waits at a token, or a function of the given parameters that says so; None: RKNN's may.
    ``ends_runs``: it waits itself for a run that does not block; before all others, the worker does. ``proves_npu``: it
    can't succeed without the NPU. ``model_of``, called with the part and the parameters by name, may return the file
    that the call works on, if no handle says so. ``repeatable``: it may be sent again over another connection, since it
    changes nothing and needs nothing of the first one; names: unless one of these parameters is given and true.
    ``alters``: the ``argument`` of the handle whose object it changes or unloads, which not everybody may do to a
    shared one. ``together`` and ``arrives``, as ``check``: see ``Together``, and ``Job.arrives``, which it returns.
    """
    declared = Declaration(
        kind,
        tuple(parameters),
        check,
        abort,
        group,
        frozenset(changes),
        known,
        prepare,
        loads,
        fits_between_tokens,
        ends_runs,
        proves_npu,
        model_of,
        repeatable,
        alters,
        together,
        arrives,
    )
    return partial(_mark, declared=declared)


def _mark(function: F, *, declared: Declaration) -> F:
    function.__rkllmd__ = declared  # type: ignore[attr-defined]  # our mark
    return function
