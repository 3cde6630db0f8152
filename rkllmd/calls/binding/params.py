"""The three forms of parameters (protocol, section 3): positional, named, flat → one value per C parameter.

Without I/O and without C: which value belongs to which parameter, and its path in the client's JSON, so that the
``path`` of an error is the one in what the client has sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Final

from rkllmd.abi.json import schemas
from rkllmd.calls.declaration import MAX_INPUTS, COnly, Count, Handle, Method, Parameter, StructParameter, Value
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.members import MEMBERS


@dataclass(slots=True)
class Given:
    """One parameter's JSON value and its JSON path below ``params``."""

    value: Json
    path: str


def bind(method: Method, params: list[Json] | JsonObject) -> dict[str, Given]:
    """Assign ``params`` to the method's parameters and check each against its schema.

    A parameter that was left out, or given as null where C takes NULL, is not in what is returned. Raises
    InvalidParams.
    """
    if not params:
        given: dict[str, Given] = {}
    elif isinstance(params, list):
        given = _positional(method, params)
    else:
        given = _object(method, params)
    _replace_fields(method, given)
    for parameter in method.json_parameters:
        item = given.get(parameter.name)
        if item is None or (item.value is None and not parameter.required):
            given.pop(parameter.name, None)
            if parameter.required:
                examples = (
                    [parameter.example, *parameter.required_fields] if isinstance(parameter, StructParameter) else []
                )
                example = next(filter(None, examples), "")
                hint = f", or its fields directly, such as {example}" if example else ""
                raise InvalidParams(
                    f"{method.name} needs {parameter.name}{hint}.", path=f"$.{parameter.name}", keyword="required"
                )
        else:
            _check(parameter, item)
            if isinstance(parameter, Handle) and not parameter.required and item.value == 0:
                del given[parameter.name]  # C writes 0 for none
    for parameter in method.json_parameters:
        if isinstance(parameter, Count) and parameter.name in given:
            _check_count(method, parameter, given)
    return given


def _replace_fields(method: Method, given: dict[str, Given]) -> None:
    """Leave the fields empty for which a plain value of their own is given. Raises InvalidParams if both are."""
    for parameter in method.json_parameters:
        if not isinstance(parameter, StructParameter) or parameter.replaced_by is None:
            continue
        name, field = parameter.replaced_by
        if name not in given or given[name].value is None:
            continue
        struct = given.setdefault(parameter.name, Given({}, "$"))
        if struct.value is None:
            struct.value = {}
        names = [field, *schemas.aliases_of(parameter.c_type, field)]
        value = struct.value if isinstance(struct.value, dict) else {field: struct.value}
        taken = next((other for other in names if value.get(other) is not None), None)
        if taken is not None:
            raise InvalidParams(
                f"{name} stands in the place of {taken}: leave one of them out.", path=struct.path, keyword="oneOf"
            )
        struct.value = {**{key: item for key, item in value.items() if key not in names}, field: ""}


def _check_count(method: Method, count: Count, given: dict[str, Given]) -> None:
    """Compare a count with what it counts, and take it out: it has no other use. Raises InvalidParams."""
    counted = given.get(count.of)
    if counted is None and count.alone:
        return
    item = given.pop(count.name)
    array = counted.value if counted is not None and isinstance(counted.value, list) else None
    limit = 0 if counted is None else 1 if array is None else len(array)
    parameter = _by_name(method)[count.of]
    # An array of numbers may be one tensor, or several.
    may_be_one = (
        isinstance(parameter, StructParameter) and parameter.or_tensors and array and not isinstance(array[0], dict)
    )
    if item.value != limit and not (may_be_one and item.value == 1):
        raise InvalidParams(
            f"{count.name} must be the number of {count.of} given, {limit}, or left out.",
            path=item.path,
            keyword="const",
            limit=limit,
        )


def _check(parameter: Handle | StructParameter | Value, item: Given) -> None:
    if not isinstance(parameter, StructParameter):
        schemas.check(parameter.schema, item.value, item.path)
    elif parameter.many and isinstance(item.value, list):
        if not item.value:
            raise InvalidParams(f"{item.path} must not be empty.", path=item.path, keyword="minItems", limit=1)
        if parameter.or_tensors and not any(_is_own(parameter, element) for element in item.value):
            return
        if len(item.value) > MAX_INPUTS:  # before each is looked at, which takes 20 µs
            detail = f"{item.path} must have at most {MAX_INPUTS} items."
            raise InvalidParams(detail, path=item.path, keyword="maxItems", limit=MAX_INPUTS)
        for index, element in enumerate(item.value):
            if parameter.or_tensors and not _is_own(parameter, element):
                continue
            schemas.check(parameter.item_schema, element, f"{item.path}[{index}]")
    elif not parameter.or_tensors or _is_own(parameter, item.value):
        schemas.check(parameter.item_schema, item.value, item.path)
    else:
        schemas.check(schemas.TENSOR, item.value, item.path)


def _is_own(parameter: StructParameter, value: Json) -> bool:
    """Return whether a value is the struct itself, and not a tensor in its place."""
    return isinstance(value, dict) and not value.keys().isdisjoint(parameter.own_names)


def _positional(method: Method, values: list[Json]) -> dict[str, Given]:
    """Assign an array in the C order; the leading handle and the positions that only C has may be left out."""
    given: dict[str, Given] = {}
    parameters = [item for item in method.parameters if not isinstance(item, Value) or item.in_c]
    has_handle = bool(parameters) and isinstance(parameters[0], Handle)
    if has_handle and not (values[0] is None or type(values[0]) is int):
        parameters.pop(0)
        has_handle = False
    if method.group and len(values) == 1 + has_handle and isinstance(values[-1], dict):
        if has_handle:
            given[parameters[0].name] = Given(values[0], "$[0]")
        return _joined(given, _named_and_flat(method, values[-1], f"$[{len(values) - 1}]"))
    index = 0
    for position, parameter in enumerate(parameters):
        if index == len(values):
            break
        following = parameters[position + 1 :]
        if isinstance(parameter, COnly) and not _stands_for_c_only(values[index:], following):
            continue
        if isinstance(parameter, Count) and not _stands_for_count(values[index:], following):
            continue
        if not isinstance(parameter, COnly):
            given[parameter.name] = Given(values[index], f"$[{index}]")
        index += 1
    if index < len(values):
        names = ", ".join(parameter.name for parameter in parameters if not isinstance(parameter, COnly))
        most = f"at most {index} positional parameter{'' if index == 1 else 's'}, not {len(values)}"
        raise InvalidParams(
            f"{method.name} takes {f'{names}: {most}' if names else 'no parameters'}.",
            path=f"$[{index}]",
            keyword="maxItems",
            limit=index,
        )
    return given


def _stands_for_c_only(values: Sequence[Json], following: Sequence[Parameter]) -> bool:
    """Return whether ``values`` begins with the null of a C-only position: if there are more values than needed."""
    wanted = sum(1 for parameter in following if not isinstance(parameter, COnly) and parameter.required)
    return values[0] is None and len(values) > wanted


def _stands_for_count(values: Sequence[Json], following: Sequence[Parameter]) -> bool:
    """Return whether ``values`` begins with a count: a number, or null if the count is inferred."""
    return type(values[0]) is int or _stands_for_c_only(values, following)


def _object(method: Method, members: JsonObject) -> dict[str, Given]:
    """Assign an object; if older clients have put several plain parameters into an object inside it, assign those."""
    group = members.get(method.group) if method.group else None
    if not isinstance(group, dict):
        return _named_and_flat(method, members)
    others = {name: value for name, value in members.items() if name != method.group}
    return _joined(_named_and_flat(method, others), _named_and_flat(method, group, f"$.{method.group}"))


def _joined(given: dict[str, Given], more: dict[str, Given]) -> dict[str, Given]:
    for name, item in more.items():
        if name in given:
            raise InvalidParams(f"{name} is given twice.", path=item.path, keyword="uniqueItems")
    return {**given, **more}


def _named_and_flat(method: Method, members: JsonObject, place: str = "$") -> dict[str, Given]:
    """Assign an object whose members are C parameter names, fields of the struct parameters, or both.

    If a struct is given by name and some of its fields beside it (``{"model_path": …, "param": {…}}``), the fields are
    merged into it; a field that is given twice is an error.
    """
    parameters = _by_name(method)
    structs = [parameter for parameter in method.parameters if isinstance(parameter, StructParameter)]
    given: dict[str, Given] = {}
    fields: dict[str, JsonObject] = {}
    for name, value in members.items():
        parameter, path = parameters.get(name), f"{place}.{name}"
        if parameter is None:
            struct = next((item for item in structs if name in item.field_names), None)
            if struct is None:
                raise _unknown(method, name, place)
            fields.setdefault(struct.name, {})[name] = value
        elif isinstance(parameter, COnly):
            if value is not None:
                raise InvalidParams(f"{name} exists only in C: leave it out.", path=path, keyword="const")
        elif parameter.name in given:
            raise InvalidParams(f"{parameter.name} is given twice.", path=path, keyword="uniqueItems")
        else:
            given[parameter.name] = Given(value, path)
    for struct in structs:
        flat = fields.get(struct.name)
        named = given.get(struct.name)
        if flat and (named is None or named.value is None):
            given[struct.name] = Given(flat, place)
        elif flat and named is not None:
            # Checked here as well, since their path differs from that of the struct into which they are merged.
            schemas.check(struct.fields_schema, flat, place)
            named.value = _merged(named, flat)
    return given


@cache
def _by_name(method: Method) -> dict[str, Parameter]:
    """Return the parameters by their names and aliases."""
    aliases = {
        alias: parameter
        for parameter in method.parameters
        if isinstance(parameter, Handle | Value)
        for alias in parameter.aliases
    }
    return aliases | {parameter.name: parameter for parameter in method.parameters}


def _merged(named: Given, flat: JsonObject) -> JsonObject:
    first = next(iter(flat))
    if not isinstance(named.value, dict):
        raise InvalidParams(
            f"{first} stands beside {named.path[2:]}, which is no object: put it inside.",
            path=f"$.{first}",
            keyword="type",
        )
    if twice := named.value.keys() & flat.keys():
        name = min(twice)
        raise InvalidParams(f"{name} is given twice.", path=f"$.{name}", keyword="uniqueItems")
    return {**named.value, **flat}


# Up to this many names fit into a sentence.
_FEW: Final = 8


def _struct_with(method: Method, name: str) -> str | None:
    """Return the field of a struct parameter that is itself a struct with a field of this name."""
    for parameter in method.json_parameters:
        fields = parameter.item_schema["properties"] if isinstance(parameter, StructParameter) else {}
        for field, schema in fields.items():
            if name in schema.get("properties", ()):
                return str(field)
    return None


def _unknown(method: Method, name: str, place: str) -> InvalidParams:
    known: list[str] = []
    for parameter in method.json_parameters:
        known.append(parameter.name)
        if isinstance(parameter, StructParameter):
            known.extend(sorted(parameter.field_names))
    shown = name if len(name) <= 64 else name[:61] + "..."
    close = difflib.get_close_matches(shown, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    if not close:
        hint = " rpc.discover shows what it takes."
        if len(known) <= _FEW:
            hint = f" It takes {', '.join(known)}." if known else " It takes none."
    if inner := _struct_with(method, name):
        hint = f' It is a member of {inner}: {{"{inner}": {{"{name}": …}}}}.'
    if name in MEMBERS:
        hint = f' The member "{name}" stands beside "method".'
    return InvalidParams(
        f"{method.name} has no parameter {shown!r}.{hint}", path=f"{place}.{shown}", keyword="additionalProperties"
    )
