"""``rkllmd help rkllm.run``: a method's parameters with their types and defaults, and an example, for a person.

All of it comes from the answer of ``rpc.discover``, so it says what the method's schema says.
"""

from __future__ import annotations

import difflib
import json
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from rkllmd.json_types import Json, JsonObject

Method = Mapping[str, Json]
Schema = Mapping[str, Json]

# Example values for the parameters and fields of these names, and examples of the C structs.
_VALUES: Final[JsonObject] = {
    "attr_name": "alpha",
    "core_mask": 1,
    "dims": [1, 224, 224, 3],
    "dynamic_shapes": [{"M": 1, "K": 32, "N": 32}, {"M": 8, "K": 32, "N": 32}],
    "events": ["queue", "load", "job"],
    "fd": {"fd": 0},
    "id": 1,
    "inputs": {"data": [0.5, 0.25], "dtype": "float32", "shape": [1, 2]},
    "job": "mgTKJEid-EWtLPsY1fYq7A",
    "mb_blk": {"fd": 0},
    "mem": 2,
    "method": "rkllm.run",
    "model_path": "/models/model.rknn",
    "name": "kitchen",
    "op": "/opt/operators/libmine.so",
    "op_type": "Swish",
    "params": {"prompt": "Hello"},
    "prompt_cache_path": "assistant",
    "prompt_postfix": "\n<|assistant|>\n",
    "prompt_prefix": "<|user|>\n",
    "shape": {"M": 1, "K": 32, "N": 32},
    "size": 4096,
    "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"city": "string"}}}],
}
_STRUCTS: Final[dict[str, JsonObject]] = {
    "RKLLMInput": {"prompt": "Hello"},
    "RKLLMParam": {"model_path": "/models/model.rkllm"},
    "RKLLMLoraAdapter": {"lora_adapter_path": "/models/adapter.rkllm"},
    "rknn_input": {"inputs": [{"index": 0, "buf": [0.5, 0.25]}]},
    "rknn_matmul_info": {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"},
    "rknn_matmul_tensor_attr": {"attr": {"name": "A"}},
    "rknn_quant_params": {"params": {"name": "B", "scale": [0.5]}},
}
# Optional parameters that an example should have all the same.
_WORTH_GIVING: Final = ("inputs", "id", "model_path", "params", "prompt_prefix", "prompt_postfix")
_DEFAULTS_OF: Final = "RKLLMParam"
_NAME_WIDTH: Final = 26
_RANGES: Final[dict[tuple[float | None, float | None], str]] = {
    (-(2**31), 2**31 - 1): "int32",
    (0, 2**32 - 1): "uint32",
    (0, 2**16 - 1): "uint16",
    (-128, 127): "int8",
    (0, 255): "uint8",
}
# The largest integer that JSON carries without loss: where it is the maximum, the method itself has no limit.
_NO_LIMIT: Final = 2**53


class NoSuchMethodError(Exception):
    """There is no method of this name; the message says which one may be meant, or how to list them all."""


def find(document: Mapping[str, Json], name: str) -> Method:
    """Return the method of this name. Raises NoSuchMethodError."""
    methods: dict[str, Method] = {method["name"]: method for method in document["methods"]}
    if name in methods:
        return methods[name]
    close = difflib.get_close_matches(name, methods, n=1)
    hint = f"Did you mean {close[0]}?" if close else "'rkllmd call rpc.discover' lists them all."
    raise NoSuchMethodError(f"there is no method {name!r}. {hint}")


def overview(document: Mapping[str, Json], namespace: str) -> str:
    """Return the methods of ``namespace``, one on a line; empty if there are none."""
    found = [method for method in document["methods"] if method["name"].startswith(f"{namespace}.")]
    return "\n".join(f"{method['name']:<42} {method['summary'].rstrip('.')}" for method in found)


def describe(method: Method, defaults: Mapping[str, Json], width: int) -> str:
    """Return a description of a method, in lines of at most ``width`` characters.

    ``defaults``: what rkllm.createDefaultParam answers, if that is known.
    """
    lines = textwrap.wrap(f"{method['name']}: {method['summary']}", width)
    if "x-c-signature" in method:
        lines += ["", *textwrap.wrap(method["x-c-signature"], width, initial_indent="  ", subsequent_indent="      ")]
    lines += ["", "Parameters:" if method["params"] else "It takes no parameters."]
    for parameter in method["params"]:
        lines += _parameter(parameter["name"], parameter["schema"], parameter["required"], defaults, width, 1)
    if any(_struct(parameter["schema"]) is not None for parameter in method["params"]):
        note = (
            "The fields of a struct may stand directly among the parameters. A field that is left out has the "
            "runtime's default (rkllm.createDefaultParam) or is zero."
        )
        lines += ["", *textwrap.wrap(note, width)]
    return "\n".join([*lines, "", "Example:", f"  {command(method)}"])


def command(method: Method) -> str:
    """Return a command line that calls the method."""
    params = example(method)
    words = ["rkllmd", "call", method["name"], *([json.dumps(params, ensure_ascii=False)] if params else [])]
    return " ".join(map(shlex.quote, words))


def example(method: Method) -> JsonObject:
    """Return parameters for the method: those that are required, and those that most people give."""
    params: JsonObject = {}
    for parameter in method["params"]:
        name, schema = parameter["name"], parameter["schema"]
        struct = _struct(schema)
        if parameter["required"] and struct is not None and struct.get("title") in _STRUCTS:
            params |= _STRUCTS[struct["title"]]
        elif parameter["required"] or name in _WORTH_GIVING:
            params[name] = _VALUES[name] if name in _VALUES else _value(schema)
    return params


def _value(schema: Schema) -> Json:
    """Return a value that the schema accepts."""
    if "anyOf" in schema:
        return _value(schema["anyOf"][0])
    if "enum" in schema:
        return next((item for item in schema["enum"] if isinstance(item, str)), schema["enum"][0])
    match next(iter(_types(schema)), "object"):
        case "string":
            return "name"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [_value(schema["items"])] if "items" in schema else [0.5, 0.25]
        case _:
            fields = schema.get("properties", {})
            wanted = [*(["index"] if "index" in fields else []), *schema.get("required", ())]
            return {name: _VALUES[name] if name in _VALUES else _value(fields[name]) for name in wanted}


# -- a parameter, and the fields below it -----------------------------------------------------------------------------


def _parameter(
    name: str, schema: Schema, required: bool, defaults: Mapping[str, Json], width: int, depth: int
) -> Iterator[str]:
    """Yield the lines of a parameter or a field."""
    facts = [_type(schema)]
    if required:
        facts.append("required")
    default = schema.get("default", defaults.get(name) if depth > 1 else None)
    if default is not None and not isinstance(default, dict):
        facts.append(f"default {json.dumps(default, ensure_ascii=False)}")
    text = f"{', '.join(facts)}. {schema.get('description', '')}".strip()
    indent = "  " * depth
    head = f"{indent}{name}".ljust(_NAME_WIDTH)
    hanging = " " * _NAME_WIDTH
    wrapped = textwrap.wrap(text, max(width, 60), initial_indent=hanging, subsequent_indent=hanging)
    yield f"{head} {wrapped[0].strip()}" if len(head) > _NAME_WIDTH else head + wrapped[0].strip()
    yield from wrapped[1:]
    struct = _struct(schema)
    if struct is None:
        return
    found = defaults if depth == 1 and struct.get("title") == _DEFAULTS_OF else defaults.get(name)
    below = found if isinstance(found, dict) else {}
    for field, inner in struct["properties"].items():
        yield from _parameter(field, inner, field in struct.get("required", ()), below, width, depth + 1)


def _struct(schema: Schema) -> Schema | None:
    """Return the schema of the C struct if a parameter is one, or an array of them; None for anything else."""
    candidates = [schema, *schema.get("anyOf", ())]
    return next((item for item in candidates if "properties" in item and "title" in item), None)


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _type(schema: Schema) -> str:
    """Return a schema's type in words."""
    if "anyOf" in schema:
        first = _type(schema["anyOf"][0])
        is_many = any("array" in _types(item) for item in schema["anyOf"][1:])
        return f"{first}, or an array of them" if is_many else " or ".join(_type(item) for item in schema["anyOf"])
    if "enum" in schema:
        names = [str(item) for item in schema["enum"] if isinstance(item, str)]
        return "one of " + ", ".join(names or map(str, schema["enum"]))
    if schema.get("title") == "Tensor":
        return "tensor"
    if "properties" in schema:
        return str(schema.get("title", "object"))
    types, low, high = _types(schema), schema.get("minimum"), schema.get("maximum")
    if (low, high) == (0, 1) and "boolean" in types:
        return "boolean"
    if (low, high) in _RANGES and types == ["integer"]:
        return _RANGES[low, high]
    text = " or ".join(types) or "any"
    if high is None or high >= _NO_LIMIT:
        return text if low is None else f"{text}, {low} or more"
    return f"{text}, {high} or less" if low is None else f"{text} from {low} to {high}"
