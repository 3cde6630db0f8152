"""The portable RKNN runtime: the C functions of librknnrt 2.3.2 in Python, over ONNX Runtime and numpy.

It may import ``portable`` and ``abi``.

Each function is a true C function pointer (a libffi closure), called exactly as a symbol of the vendor's library. Where
the vendor takes a ``.rknn`` file, an ``.onnx`` file is taken, from a path or from memory. Three keys of an ONNX model's
metadata say what ONNX has no place for:

- ``rknn_quant``: JSON, {tensor name: [scale, zero point]}, for inputs and outputs of integer type. These are shown as
  quantised. A graph that begins with QuantizeLinear or ends with DequantizeLinear is shown as it is, with float inputs
  and outputs: nothing is guessed from its nodes.
- ``rknn_dynamic_shapes``: JSON, a list of sets of input shapes, as rknn-toolkit2's ``dynamic_input``, for a graph with
  symbolic dimensions. The first set is the shape at the start, and no others may be set. Without the key a symbolic
  dimension starts as 1 and may be set to anything.
- ``custom_string``: what RKNN_QUERY_CUSTOM_STRING returns.

A call that fails returns the vendor's code and writes one line to descriptor 2. To import this package loads neither
numpy nor ONNX Runtime; the first call does.
"""

from __future__ import annotations

import importlib.util
from functools import cache

from rkllmd.abi.c_types import CFunction
from rkllmd.portable.rknn.version import VERSION

__all__ = ["VERSION", "check_installed", "functions"]

_NEEDED = ("onnxruntime", "numpy")


def check_installed() -> None:
    """Raise EngineMissingError (a PortableRuntimeError) if ONNX Runtime or numpy is not installed."""
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            from rkllmd.portable.build import EngineMissingError
            from rkllmd.requirements import install_command

            raise EngineMissingError(f"{package} is not installed: {install_command(*_NEEDED)}")


@cache
def functions() -> dict[str, CFunction]:
    """Return all functions of rknn_api.h, rknn_matmul_api.h and rknn_custom_op.h by their C names, made once.

    Raises EngineMissingError, as ``check_installed`` does.
    """
    check_installed()
    # Imported here: it takes fifty milliseconds, which a daemon without vision does not need.
    from rkllmd.portable.rknn.calls.closures import make_all

    return make_all()
