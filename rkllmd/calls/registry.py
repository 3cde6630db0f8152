"""Finds the function modules and makes the table of methods: adding a file adds the method.

Each package is a namespace on the wire; each module in it whose name has no leading underscore is one method.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from dataclasses import fields
from functools import cache
from types import FunctionType, ModuleType
from typing import Final

from rkllmd.abi.json import schemas
from rkllmd.abi.library import Functions
from rkllmd.calls.declaration import Declaration, Method, Part, StructParameter
from rkllmd.config.values import ConfigError

# Package → how its methods' names begin on the wire.
NAMESPACES: Final = {
    "rkllmd.rkllm": "rkllm.",
    "rknn": "rknn.",
    "rkllmd.methods.server": "server.",
    "rkllmd.methods.rpc": "rpc.",
    "rkllmd.methods.lsp": "$/",
}
# The parts that their functions work with; all others work with the whole service.
_PARTS: Final = {"rkllm": Part.LANGUAGE, "rknn": Part.VISION}

_C_SIGNATURE = re.compile(r"^C: (.*?\))$", re.MULTILINE | re.DOTALL)


def discover() -> dict[str, Method]:
    """Import every function module and return the methods by their names."""
    _check_rknn()
    methods = {}
    for package_name, namespace in NAMESPACES.items():
        package = importlib.import_module(package_name)
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
            if not info.name.startswith("_"):
                module = importlib.import_module(f"{package_name}.{info.name}")
                method = _method(module, f"{namespace}{info.name}")
                methods[method.name] = method
    return methods


def declare_functions(methods: dict[str, Method], namespace: str, library: Functions) -> None:
    """Add those C functions of the namespace's methods to the library that are in no table of ours.

    Raises TypeError for a C signature that cannot be read.
    """
    for method in methods.values():
        if method.name.partition(".")[0] == namespace and method.c_signature is not None:
            try:
                library.declare(method.c_signature)
            except ValueError as error:
                raise TypeError(f"{method.call.__module__}: its C signature can't be read: {error}") from None


@cache
def known() -> dict[str, Method]:
    """Return what ``discover`` finds; it is called once. For methods that describe the others."""
    return discover()


def warm_up(methods: dict[str, Method]) -> None:
    """Prepare all checks; otherwise the first call of each method would take some milliseconds longer."""
    for method in methods.values():
        for parameter in method.json_parameters:
            schemas.prepare(parameter.item_schema if isinstance(parameter, StructParameter) else parameter.schema)
            if isinstance(parameter, StructParameter):
                assert parameter.field_names


def _check_rknn() -> None:
    """Raise ConfigError if Rockchip's model converter is imported under the name rknn."""
    if importlib.util.find_spec("rknn.get_functions") is None:
        raise ConfigError(
            "The package rknn is Rockchip's model converter (rknn-toolkit2), not rkllmd's: install rkllmd in a virtual "
            "environment of its own."
        )


def _method(module: ModuleType, name: str) -> Method:
    # Only functions are asked: a library that makes up attributes, as structlog does, would import more to answer.
    functions = [item for item in vars(module).values() if isinstance(item, FunctionType)]
    functions = [function for function in functions if hasattr(function, "__rkllmd__")]
    if len(functions) != 1:
        raise TypeError(f"{module.__name__} must declare exactly one method, it declares {len(functions)}")
    declaration: Declaration = vars(functions[0])["__rkllmd__"]
    declared = {field.name: getattr(declaration, field.name) for field in fields(Declaration)}
    part = _PARTS.get(name.partition(".")[0], Part.SERVICE)
    if declaration.fits_between_tokens is None:
        declared["fits_between_tokens"] = part is Part.VISION
    text = module.__doc__ or ""
    signature = _C_SIGNATURE.search(text)
    return Method(
        **declared,
        name=name,
        part=part,
        call=functions[0],
        summary=text.partition("\n")[0].partition(": ")[2],
        c_signature=" ".join(signature.group(1).split()) if signature else None,
    )
