"""Python functions as C function pointers, from which no exception escapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, c_int, c_void_p, cast
from functools import cache

from rkllmd.abi.c_types import CFunction, FunctionPointer, Signature
from rkllmd.abi.layouts import rknn, rknn_custom_op, rknn_matmul
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError, report

# ctypes frees a closure with its Python object, while C code may still hold the address: these live for ever.
_closures: list[FunctionPointer] = []


def make_all() -> dict[str, CFunction]:
    """Return a ctypes function pointer for each function of the three tables."""
    tables = (rknn.SIGNATURES, rknn_matmul.SIGNATURES, rknn_custom_op.SIGNATURES)
    return {name: _make(name, signature) for table in tables for name, signature in table.items()}


@cache
def _implementations() -> Mapping[str, Callable[..., int | None]]:
    # Imported at the first call, since it loads numpy.
    from rkllmd.portable.rknn.calls.table import CALLS

    return CALLS


def _make(name: str, signature: Signature) -> CFunction:
    if signature.restype is None:
        return _keep(CFUNCTYPE(None, *signature.argtypes)(_guard(name, None)))
    if signature.restype is c_int:
        return _keep(CFUNCTYPE(c_int, *signature.argtypes)(_guard(name, rknn_error.RKNN_ERR_FAIL)))
    # A closure cannot return a typed pointer. It returns the address, and callers get a prototype that types it.
    closure = _keep(CFUNCTYPE(c_void_p, *signature.argtypes)(_guard(name, 0)))
    address = cast(closure, c_void_p).value or 0
    return CFUNCTYPE(signature.restype, *signature.argtypes)(address)


def _keep(closure: FunctionPointer) -> FunctionPointer:
    _closures.append(closure)
    return closure


def _guard(name: str, failed: int | None) -> Callable[..., int | None]:
    """Return the Python side of a closure. ``failed``: what it returns for an error without a code, None for void."""

    def call(*arguments: object) -> int | None:
        try:
            result = _implementations()[name](*arguments)
        except RknnError as error:
            report(name, error.sentence)
            return int(error.code) if failed else failed
        except MemoryError:
            report(name, "there is not enough memory")
            return int(rknn_error.RKNN_ERR_MALLOC_FAIL) if failed else failed
        except BaseException as error:
            # Even an interrupt: ctypes would print it and return an undefined value.
            report(name, f"{type(error).__name__}: {error}")
            return failed
        return None if failed is None else int(result or 0)

    return call
