"""Parameters in which names stand for handles that are made later."""

from __future__ import annotations

from typing import Any

from tests.rknn.board import Client

BIND = {"index": 0}
INFO = {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}

# CTX and MEM (16 bytes, made with CTX) stand for the handles.
CTX, MEM = "<context>", "<memory>"
SMALL = "<memory of 4 bytes>"


def filled(value: Any, handles: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {name: filled(item, handles) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, handles) for item in value]
    return handles.get(value, value) if isinstance(value, str) else value


def held_by(wire: Client) -> list[int]:
    status = wire.result("server.status")
    return [len(status[name]) for name in ("contexts", "matmuls", "memories")]
