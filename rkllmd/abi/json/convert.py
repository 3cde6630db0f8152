"""JSON to C by struct type.

``to_c`` walks the struct's fields, so a new struct needs no new code here unless JSON means more than its fields say:
that is in ``abi/json/forms.py`` (other spellings) and ``abi/json/counts.py`` (counts that follow from the data).

The promise: whatever the value is, the result is a struct whose pointers, counts and union member agree, or an RpcError
that names the JSON path and never repeats the value.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_bool, c_char, c_char_p, c_float, c_int32
from typing import TypeVar

from rkllmd.abi.c_types import CObject, CType, Struct
from rkllmd.abi.json.counts import RULES, check_width, image_rule
from rkllmd.abi.json.forms import ALIASES, ELSEWHERE, EXTRAS, IMAGE_FIELDS, UNION_MEMBERS, describe_unknown
from rkllmd.abi.json.scalars import enum_value, to_bool, to_float, to_int, to_text
from rkllmd.abi.json.structs import INT_RANGES, fields_of, is_pointer, of_array
from rkllmd.abi.json.tensors import Sources, Tensor, read_tensor
from rkllmd.abi.layouts.rkllm import LAYOUTS, RKLLMInputType
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

KeepAlive = list[object]
"""What C may still point to. It lives as long as the call; what rkllm_init was given, as long as the handle."""

StructT = TypeVar("StructT", bound=Struct)

# Runtime 1.3.1 appended a struct to RKLLMMultiModalInput. A later one, for which somebody names our layout, may do so
# again: a runtime that reads further than the struct we know must find zeros there, which mean "none", and not what
# happens to lie behind our memory.
_ZEROS_BEHIND = 256

_CS_OWN = frozenset({"reserved"})
_BUFFERS: dict[CType, tuple[type[c_float] | type[c_int32], str]] = {
    ctypes.POINTER(c_float): (c_float, "float32"),
    ctypes.POINTER(c_int32): (c_int32, "int32"),
}


def to_c(
    value: Json,
    struct_type: type[StructT],
    path: str,
    keep: KeepAlive,
    *,
    defaults: Mapping[str, ctypes.Structure] | None = None,
    runtime: str | None = None,
    sources: Sources | None = None,
    embedding_width: int | None = None,
) -> StructT:
    """Return ``value`` as a ``struct_type``; everything it points to is appended to ``keep``.

    ``path`` is the JSON path of ``value`` for errors. ``defaults`` has, by C name, the structs to start from, for this
    struct and for those it points to; a field that neither they nor the client give is zero. ``runtime`` names the
    loaded runtime in NotSupported. ``sources`` has what tensors by fd and mem refer to. ``embedding_width`` is how many
    numbers an embedding of the model has, if that is known.

    Raises InvalidParams, NotSupported, and what ``sources`` raises.
    """
    return _Conversion(keep, defaults or {}, runtime, sources, embedding_width).new(value, struct_type, path)


def to_c_array(
    values: Json,
    struct_type: type[StructT],
    path: str,
    keep: KeepAlive,
    *,
    defaults: Mapping[str, ctypes.Structure] | None = None,
    runtime: str | None = None,
    sources: Sources | None = None,
    embedding_width: int | None = None,
) -> ctypes.Array[StructT]:
    """Do as ``to_c`` for a JSON array: return a C array of ``struct_type``, as rkllm_run takes it with n_batch > 1."""
    if not isinstance(values, list) or not values:
        raise InvalidParams(f"{path} must be an array with members.", path=path, keyword="type", limit="array")
    conversion = _Conversion(keep, defaults or {}, runtime, sources, embedding_width)
    size = len(values) * ctypes.sizeof(struct_type) + _ZEROS_BEHIND
    target = (struct_type * len(values)).from_buffer(bytearray(size))
    keep.append(target)
    for index, value in enumerate(values):
        conversion.start(target[index])
        conversion.fill(target[index], value, f"{path}[{index}]")
    return target


@dataclass(slots=True)
class _Conversion:
    """One call of ``to_c``: what the conversion of each struct inside needs."""

    keep: KeepAlive
    defaults: Mapping[str, ctypes.Structure]
    runtime: str | None
    sources: Sources | None
    embedding_width: int | None

    def new(self, value: Json, struct_type: type[StructT], path: str) -> StructT:
        """Return a struct in new memory, filled from ``value``."""
        target = struct_type.from_buffer(bytearray(ctypes.sizeof(struct_type) + _ZEROS_BEHIND))
        self.keep.append(target)
        self.start(target)
        self.fill(target, value, path)
        return target

    def start(self, target: Struct) -> None:
        """Copy the defaults for ``target``'s type, if there are any, over its zeros."""
        default = self.defaults.get(type(target).__name__)
        if default is not None:
            ctypes.memmove(ctypes.byref(target), ctypes.byref(default), ctypes.sizeof(target))
            self.keep.append(default)  # both point to the same strings now

    def fill(self, target: Struct, value: Json, path: str) -> None:
        """Set ``target``'s fields from the JSON object ``value`` and check that they agree."""
        name = type(target).__name__
        given = _canonical(value, name, path)
        if name == "RKLLMMultiModalInput":
            self.fill_multimodal(target, given, path)
            return
        if name == "RKLLMInput":
            given = _choose_member(given, path)
        tensors = self.set_fields(target, given, path)
        _require(target, given, path)
        if name in RULES:
            RULES[name](target, given, tensors, path)
        check_width(target, tensors, self.embedding_width, path)

    def fill_multimodal(self, target: Struct, given: JsonObject, path: str) -> None:
        """Set a multimodal input from the flat form of 1.2 or the nested one since 1.3; ``target`` may be of either."""
        rest = {name: item for name, item in given.items() if name not in IMAGE_FIELDS and name != "image"}
        flat = {name: item for name, item in given.items() if name in IMAGE_FIELDS and item is not None}
        nested = given.get("image")
        if flat and nested is not None:
            raise InvalidParams(f"{path} has its image twice, flat and in image.", path=path, keyword="oneOf")
        image, image_path = (nested, f"{path}.image") if nested is not None else (flat or None, path)
        if image is None and rest.get("video") is None and rest.get("audio") is None:
            raise InvalidParams(
                f"{path} needs an image, a video or audio; text alone goes into prompt_input.",
                path=path,
                keyword="required",
                limit=["image"],
            )
        tensors = self.set_fields(target, rest, path)
        _require(target, rest, path)
        if hasattr(target, "image"):
            if image is not None:
                self.fill(target.image, image, image_path)
        else:
            image = _canonical(image or {}, "RKLLMImageInput", image_path)
            tensors |= self.set_fields(target, image, image_path)
            image_rule(target, image, tensors, image_path)
            check_width(target, tensors, self.embedding_width, image_path)

    def set_fields(self, target: Struct, given: JsonObject, path: str) -> dict[str, Tensor]:
        """Set the fields of ``target`` that ``given`` has; return the tensors among them."""
        fields = fields_of(type(target))
        tensors: dict[str, Tensor] = {}
        for name, item in given.items():
            if name not in fields:
                self.refuse_unknown(type(target), name, item, path)
                continue
            tensor = self.set_field(target, name, fields[name], item, f"{path}.{name}")
            if tensor is not None:
                tensors[name] = tensor
        return tensors

    def refuse_unknown(self, struct_type: type[Struct], name: str, item: Json, path: str) -> None:
        """Raise for a field that the struct does not have; return if it asks for nothing, or others act on it."""
        struct_name = struct_type.__name__
        layout = next((layout for layout in LAYOUTS.values() if layout.structs.get(struct_name) is struct_type), None)
        extra = EXTRAS.get(struct_name, {}).get(name)
        if extra is not None and layout is not None and (not extra.layouts or layout.name in extra.layouts):
            return
        elsewhere = ELSEWHERE.get((struct_name, name))
        if elsewhere is None or layout is None:
            unknown = describe_unknown(name, fields_of(struct_type))
            raise InvalidParams(f"{path} has {unknown}.", path=path, keyword="additionalProperties", limit=False)
        if item is None or item is False or elsewhere.by_daemon:
            return  # what the layout does not have is off anyway: so the same params fit each layout
        runtime = self.runtime or f"rkllm {layout.name}"
        raise NotSupported(
            f"{runtime} has no {name} in {struct_name}. {elsewhere.instead}",
            runtime=runtime,
            needs=elsewhere.needs,
            path=f"{path}.{name}",
        )

    def set_field(self, target: Struct, name: str, field_type: CType, item: Json, path: str) -> Tensor | None:
        """Set one field; return the tensor if it is a buffer."""
        if item is None and (field_type is c_char_p or is_pointer(field_type)):
            setattr(target, name, None)
        elif field_type in _BUFFERS:
            element, dtype = _BUFFERS[field_type]
            return self.set_buffer(target, name, element, read_tensor(item, dtype, path, self.sources), path)
        elif field_type is c_char_p:
            setattr(target, name, self.text(target, name, item, path))
        elif issubclass(field_type, Struct):
            if item is not None:
                self.fill(getattr(target, name), item, path)
        elif is_pointer(field_type) and issubclass(field_type._type_, Struct):
            setattr(target, name, ctypes.pointer(self.new(item, field_type._type_, path)))
        elif name in target._enums_:
            setattr(target, name, enum_value(item, target._enums_[name], path))
        elif name in _CS_OWN and _is_nothing(item):
            return None  # from clients that send the whole C struct, as they got it
        elif issubclass(field_type, ctypes.Array) and name not in _CS_OWN:
            self.set_array(target, name, field_type, item, path)
        elif field_type is c_bool or (name in target._flags_ and isinstance(item, bool)):
            setattr(target, name, to_bool(item, path))
        elif field_type is c_float:
            setattr(target, name, to_float(item, path))
        elif field_type in INT_RANGES:
            setattr(target, name, to_int(item, field_type, path))
        else:
            # Callbacks, userdata, reserved bytes: C's own.
            raise InvalidParams(f"{path} cannot be set by a client.", path=path, keyword="readOnly", limit=True)
        return None

    def set_array(
        self, target: Struct, name: str, field_type: type[ctypes.Array[CObject]], item: Json, path: str
    ) -> None:
        """Set an array inside the struct: characters, or integers; what a client leaves out at its end is zero."""
        element, length = of_array(field_type)
        if element is c_char:
            text = self.text(target, name, item, path)
            if len(text) >= length:
                limit = length - 1
                detail = f"{path} must have at most {limit} bytes."
                raise InvalidParams(detail, path=path, keyword="maxLength", limit=limit)
            setattr(target, name, text)
            return
        if not isinstance(item, list) or len(item) > length:
            detail = f"{path} must be an array of at most {length} integers."
            raise InvalidParams(detail, path=path, keyword="maxItems", limit=length)
        numbers = [to_int(number, element, f"{path}[{index}]") for index, number in enumerate(item)]
        getattr(target, name)[:] = numbers + [0] * (length - len(numbers))

    def set_buffer(
        self, target: Struct, name: str, element: type[c_float] | type[c_int32], tensor: Tensor, path: str
    ) -> Tensor:
        """Point a field at a tensor's memory; an empty tensor would be a pointer to nothing."""
        if tensor.count == 0:
            raise InvalidParams(f"{path} must not be empty.", path=path, keyword="minItems", limit=1)
        memory = tensor.as_c(element)
        self.keep.append(memory)
        # Not ctypes.cast, which would make the array part of a cycle: a client's descriptor would stay open until the
        # garbage collector comes.
        setattr(target, name, ctypes.pointer(element.from_buffer(memory)))
        return tensor

    def text(self, target: Struct, name: str, item: Json, path: str) -> bytes:
        """Return a string as C has it, kept alive."""
        text = to_text(item, path, is_printed=name in target._printed_, is_name=name in target._names_)
        self.keep.append(text)
        return text


def _canonical(value: Json, struct_name: str, path: str) -> JsonObject:
    """Return a JSON object's members under their C names."""
    if not isinstance(value, dict):
        raise InvalidParams(f"{path} must be an object.", path=path, keyword="type", limit="object")
    aliases = ALIASES.get(struct_name, {})
    given: JsonObject = {}
    for name, item in value.items():
        canonical = str(aliases.get(name, name))
        if canonical in given:
            names = [other for other in value if aliases.get(other, other) == canonical]
            where = "The parameters have" if path == "$" else f"{path} has"
            raise InvalidParams(
                f"{where} {canonical} twice, as {' and as '.join(names)}: leave out one of them.",
                path=path,
                keyword="oneOf",
            )
        given[canonical] = item
    return given


def _require(target: Struct, given: JsonObject, path: str) -> None:
    for name in target._required_:
        if given.get(name) is None:
            raise InvalidParams(f"{path}.{name} is required.", path=path, keyword="required", limit=[name])


def _choose_member(given: JsonObject, path: str) -> JsonObject:
    """Return RKLLMInput's members with input_type, inferred from the union's one member or checked against it."""
    given = {name: item for name, item in given.items() if item is not None or name not in UNION_MEMBERS}
    given = _with_prompt_inside(given)
    members = [name for name in UNION_MEMBERS if name in given]
    if len(members) != 1:
        names = list(UNION_MEMBERS)
        keyword = "oneOf" if members else "required"
        raise InvalidParams(f"{path} needs exactly one of {', '.join(names)}.", path=path, keyword=keyword, limit=names)
    type_of_member = RKLLMInputType[UNION_MEMBERS[members[0]]]
    input_type = given.get("input_type")
    if input_type is not None:
        type_path = f"{path}.input_type"
        if enum_value(input_type, RKLLMInputType, type_path) != type_of_member:
            raise InvalidParams(
                f"{type_path} must be {type_of_member.name} for {members[0]}.",
                path=type_path,
                keyword="const",
                limit=type_of_member.name,
            )
    return {**given, "input_type": int(type_of_member)}


def _with_prompt_inside(given: JsonObject) -> JsonObject:
    """Return RKLLMInput's members; the text of a multimodal input is inside it, also if the client put it beside it."""
    multimodal, prompt = given.get("multimodal_input"), given.get("prompt_input")
    if prompt is None or not isinstance(multimodal, dict) or multimodal.get("prompt") is not None:
        return given
    rest = {name: item for name, item in given.items() if name != "prompt_input"}
    return {**rest, "multimodal_input": {**multimodal, "prompt": prompt}}


def _is_nothing(item: Json) -> bool:
    return item is None or (isinstance(item, list) and not any(item))
