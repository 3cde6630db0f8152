"""Finds the files beside an ONNX model that hold its weights: TensorProto.external_data, wherever a tensor may stand.

They are read from the bytes of the protobuf, since the onnx package is not required: of each message only the fields
that lead to a tensor. ONNX Runtime would map such files, and a mapped file that is cut short ends the process at the
next run, so it is given their bytes instead. Source of the field numbers: onnx.proto of ONNX 1.18.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

from rkllmd import open_files
from rkllmd.portable.rknn.models.onnx_runtime import SessionOptions

# By message: the fields that may lead to a tensor, and to which message each leads.
_PATHS: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
_KEY, _VALUE = 1, 2
# Wire types, and the sizes of those that have one.
_VARINT, _BYTES = 0, 2
_SIZES: Final = {1: 8, 5: 4}
_NUMBER_BITS: Final = 64
_LOCATION: Final = b"location"
_LONGEST_NAME: Final = 4096
_DESCRIPTORS: Final = "/proc/"


def files(path: str) -> dict[str, str]:
    """Return the files beside the model at ``path``, by their names in it: those that exist and are below its folder.

    What happens with others, ONNX Runtime itself decides. Raises OSError.
    """
    folder = os.path.dirname(os.path.realpath(path))
    beside = {name: os.path.realpath(file) for name, file in named(path).items()}
    return {name: file for name, file in beside.items() if file.startswith(f"{folder}/") and os.path.isfile(file)}


def named(path: str) -> dict[str, str]:
    """Return the paths of all files that the model at ``path`` names, by their names in it. Raises OSError."""
    status = os.stat(path)
    found = _names_in(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    folder = os.path.dirname(os.path.realpath(path))
    return {name: os.path.join(folder, name) for name in found if "\0" not in name}


def give_bytes(options: SessionOptions, path: str) -> list[bytes]:
    """Let a session on the model at ``path`` have the bytes of the files beside it; return them. Raises OSError.

    They have to live as long as the session, which uses them without a copy. (ONNX Runtime's documentation says that
    it copies them; it does not.) A model that is a descriptor has nothing beside it.
    """
    beside = {} if path.startswith(_DESCRIPTORS) else files(path)
    contents = [Path(file).read_bytes() for file in beside.values()]
    if beside:
        options.add_external_initializers_from_files_in_memory(list(beside), contents, list(map(len, contents)))
    return contents


@lru_cache(maxsize=64)
def _names_in(path: str, *_identity: int) -> tuple[str, ...]:
    """Remember what ``names`` has found in a file that has not changed: some graphs have a hundred thousand fields."""
    with open(path, "rb", opener=open_files.without_waiting) as file:
        return tuple(names(file))


def names(file: BinaryIO) -> list[str]:
    """Return the locations in a model, each once; if it is damaged or no model, those that were found before the fault.

    The file is read piece by piece, and not mapped: it may be large, and somebody may cut it short meanwhile.
    """
    found: dict[str, None] = {}
    # The messages that are still to be read: begin, end and type. There is no recursion, since files may be hostile.
    waiting = [(0, file.seek(0, os.SEEK_END), "ModelProto")]
    try:
        while waiting:
            start, end, kind = waiting.pop()
            fields = list(_fields(file, start, end))
            if kind == "StringStringEntryProto":
                found |= dict.fromkeys(_location(file, fields))
                continue
            leads = _PATHS[kind]
            waiting += [(at, stop, leads[number]) for number, at, stop in fields if number in leads]
    except (UnicodeDecodeError, ValueError):
        pass
    return list(found)


def _location(file: BinaryIO, fields: list[tuple[int, int, int]]) -> list[str]:
    entry: dict[int, bytes] = {}
    for number, at, stop in fields:
        if stop - at <= _LONGEST_NAME:
            file.seek(at)
            entry[number] = file.read(stop - at)
    return [entry[_VALUE].decode()] if entry.get(_KEY) == _LOCATION and entry.get(_VALUE) else []


def _fields(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of bytes in a message: number, begin, end. Raises ValueError for a damaged one."""
    file.seek(at)
    while at < end:
        tag, at = _varint(file, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = _varint(file, at)
            continue
        size = _SIZES.get(wire)
        if wire == _BYTES:
            size, at = _varint(file, at)
        if size is None or at + size > end:
            raise ValueError("a field of unknown type, or one that ends behind its message")
        if wire == _BYTES:
            yield number, at, at + size
        at += size
        file.seek(at)


def _varint(file: BinaryIO, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    value = shift = 0
    while shift < _NUMBER_BITS:
        (byte,) = file.read(1) or b"\0"
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number of more than 64 bits")
