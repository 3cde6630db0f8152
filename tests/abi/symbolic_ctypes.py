"""A stand-in for ctypes that lays out structs as the C compiler of another machine does.

The mirrors of the C structs are imported with it in the place of ctypes, so what is measured is what they declare. With
``lp64`` it has to agree with ctypes itself; with ``arm32`` it stands for a ctypes that this machine does not have.

As a program, ``python -m tests.abi.symbolic_ctypes arm32`` prints all layouts and signatures as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

# Bytes of a pointer, and so of size_t; the alignment of int64_t is 8 on both (on i386 it would be 4).
_POINTER_BYTES = {"lp64": 8, "arm32": 4}
_MACHINES = {"lp64": "aarch64", "arm32": "armv7l"}


class _Kind(type):
    """A C type: its ``size`` and ``align``; ``char * 16`` is an array."""

    size: int
    align: int

    def __mul__(cls, length: int) -> _Kind:
        return _Kind(f"{cls.__name__}[{length}]", (), {"size": cls.size * length, "align": cls.align})


class _Aggregate(_Kind):
    """A struct or union; its layout follows from ``_fields_``."""

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        super().__init__(name, bases, members)
        if "_fields_" not in members:
            return
        end, cls.align, cls.layout = 0, 1, {}
        for field, kind in members["_fields_"]:
            start = 0 if cls.is_union else _up(end, kind.align)
            cls.layout[field] = {"offset": start, "size": kind.size}
            end, cls.align = max(end, start + kind.size), max(cls.align, kind.align)
        cls.size = _up(end, cls.align)

    is_union = False
    layout: dict[str, dict[str, int]]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def make(data_model: str) -> types.ModuleType:
    """Return a module that has what the mirrors import from ctypes."""
    made = types.ModuleType("ctypes")
    module: Any = made
    pointer = _POINTER_BYTES[data_model]
    sizes = {"char": 1, "bool": 1, "int": 4, "float": 4, "double": 8, "size_t": pointer, "void_p": pointer}
    sizes |= {"char_p": pointer, **{f"{u}int{bits}": bits // 8 for u in ("", "u") for bits in (8, 16, 32, 64)}}
    for name, size in sizes.items():
        setattr(module, f"c_{name}", _Kind(f"c_{name}", (), {"size": size, "align": size}))

    def address(*_: Any) -> _Kind:
        return _Kind("pointer", (), {"size": pointer, "align": pointer})

    module.POINTER = module.CFUNCTYPE = address
    module.Structure = _Aggregate("Structure", (), {})
    module.Union = _Aggregate("Union", (), {"is_union": True})
    module.sizeof = lambda kind: kind.size
    return made


def _layouts(structs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"size": kind.size, "align": kind.align, "fields": kind.layout}
        for name, kind in structs.items()
        if isinstance(kind, _Aggregate) and hasattr(kind, "layout")
    }


def _signatures(signatures: dict[str, Any]) -> dict[str, Any]:
    """Return function → [argument, size] in order, and the size of what it returns (None for void)."""
    return {
        name: {
            "args": [[argument, kind.size] for argument, kind in signature.arguments.items()],
            "returns": None if signature.restype is None else signature.restype.size,
        }
        for name, signature in signatures.items()
    }


def measure(data_model: str) -> dict[str, Any]:
    """Return header → ``structs`` and ``functions`` of the mirrors. It spoils the process that calls it."""
    sys.modules["ctypes"] = make(data_model)
    kernel = os.uname()
    os.uname = lambda: os.uname_result((*kernel[:4], _MACHINES[data_model]))

    from rkllmd.abi.layouts import rkllm, rknn, rknn_custom_op, rknn_matmul

    found = {
        f"rkllm-{layout.name}": {"structs": _layouts(layout.structs), "functions": _signatures(layout.signatures)}
        for layout in rkllm.LAYOUTS.values()
    }
    for name, module in (("rknn_api", rknn), ("rknn_matmul_api", rknn_matmul), ("rknn_custom_op", rknn_custom_op)):
        found[name] = {"structs": _layouts(vars(module)), "functions": _signatures(module.SIGNATURES)}
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
