"""What the daemon says about its own methods, made from the same declarations that bind and validate."""

from __future__ import annotations

from typing import Final

from rkllmd import __version__
from rkllmd.calls.crash_schema import CRASH
from rkllmd.calls.declaration import COnly, Method
from rkllmd.json_types import JsonObject

_OPENRPC: Final = "1.3.2"
_RESULT: Final = {"name": "result", "schema": {"type": "object"}}


def describe_functions(methods: dict[str, Method], namespace: str) -> JsonObject:
    """Return the C functions of ``namespace``: method, signature, kind, summary, and the JSON parameters in order."""
    return {
        method.c_function: {
            "method": method.name,
            "kind": str(method.kind),
            "summary": method.summary,
            "signature": method.c_signature,
            "params": [parameter.name for parameter in method.json_parameters],
        }
        for method in methods.values()
        if method.c_function and method.name.startswith(f"{namespace}.")
    }


def openrpc(methods: dict[str, Method]) -> JsonObject:
    """Return the OpenRPC document of all methods (https://spec.open-rpc.org)."""
    return {
        "openrpc": _OPENRPC,
        "info": {
            "title": "rkllmd",
            "version": __version__,
            "description": "Rockchip's NPU as JSON-RPC 2.0, one method per C function.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": [_method(method) for method in methods.values()],
        "components": {"schemas": {"Crash": CRASH}},
    }


def _method(method: Method) -> JsonObject:
    document: JsonObject = {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": [
            {
                "name": parameter.name,
                "required": parameter.required,
                "schema": parameter.schema,
            }
            for parameter in method.json_parameters
        ],
        "result": _RESULT,
        "x-kind": str(method.kind),
    }
    if method.c_signature:
        document["x-c-signature"] = method.c_signature
        document["x-c-only"] = [item.name for item in method.parameters if isinstance(item, COnly)]
    if method.alters is not None:
        document["x-alters"] = next(item.name for item in method.handles if item.argument == method.alters)
    if method.repeatable:
        document["x-repeatable"] = True if method.repeatable is True else {"unless": sorted(method.repeatable)}
    return document
