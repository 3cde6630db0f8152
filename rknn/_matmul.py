"""What the matmul functions share: a matrix by its name, and the description of a context."""

from __future__ import annotations

from typing import Final

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.rknn_structs import describe
from rkllmd.abi.layouts.rknn_matmul import (
    rknn_matmul_info,
    rknn_matmul_io_attr,
    rknn_matmul_tensor_attr,
    rknn_matmul_type,
)
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.machine.c_runtime import no_handle
from rkllmd.vision.objects import Matmul
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import destroy, destroy_left
from rknn._attributes import check_unchanged
from rknn._common import check_wanted

MATRICES: Final = ("A", "B", "C")


def info_from(json: JsonObject, path: str) -> rknn_matmul_info:
    """Return an rknn_matmul_info. Raises InvalidParams."""
    info = to_c(json, rknn_matmul_info, path, [])
    check_shape((info.M, info.K, info.N), path)
    if not info.type:
        raise InvalidParams(f"{path}.type is required.", path=f"{path}.type", keyword="required", limit=["type"])
    return info


def check_shape(shape: tuple[int, int, int], path: str) -> None:
    """Refuse sizes below 1, and matrices beyond C's 32-bit sizes at four bytes per element. Raises InvalidParams."""
    m, k, n = shape
    if min(shape) < 1 or max(m * k, k * n, m * n) * 4 >= 2**31:
        raise InvalidParams(
            f"{path}: M, K and N must be at least 1, and every matrix must have fewer than 2^29 elements.",
            path=path,
            keyword="minimum",
        )


def matrix_types(info: rknn_matmul_info) -> tuple[str, str, str]:
    """Return the element types of A, B and C, which the name of the type contains."""
    words = rknn_matmul_type(info.type).name.removeprefix("RKNN_").lower().split("_")
    return words[0], words[2], words[4]


def add(vision: Vision, invocation: Invocation, matmul: Matmul, *, keep: bool) -> None:
    """Give a matmul context its handle. Raises RuntimeFailure, and Cancelled if nobody waits for it any more."""
    if not matmul.pointer:
        raise no_handle(invocation.method.c_function or invocation.method.name, 0, [])
    try:
        check_wanted(vision, invocation)
    except BaseException:
        destroy(vision, matmul)
        raise
    matmul.user = invocation.client.user
    matmul.number = vision.matmuls.add(matmul, None if keep else invocation.client.number)
    destroy_left(vision)


def describe_io(io_attr: rknn_matmul_io_attr) -> JsonObject:
    """Return how the runtime wants the three matrices to be laid out."""
    return {name: describe(getattr(io_attr, name)) for name in MATRICES}


def matrix(matmul: Matmul, json: JsonObject, path: str) -> tuple[str, rknn_matmul_tensor_attr]:
    """Return which matrix is meant, and its attributes as the runtime gave them. Raises InvalidParams.

    The name is A, B or C, or the runtime's own name. Other fields may be given, but must have the runtime's values.
    """
    io_attr = matmul.io_attrs[matmul.shape_index]
    for letter in MATRICES:
        attr: rknn_matmul_tensor_attr = getattr(io_attr, letter)
        if json.get("name") in (letter, attr.name.decode("utf-8", "replace")):
            check_unchanged(attr, json, path, ("name",))
            return letter, attr
    raise InvalidParams(f"{path}.name must be A, B or C.", path=f"{path}.name", keyword="enum", limit=list(MATRICES))
