"""Inputs of a run, and what the simulator shows of them."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import pytest

from tests.rkllm.board import Board

WIDTH = 8  # of the simulator's embeddings
BOTH = pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def floats(values: list[float]) -> str:
    return base64_of(array("f", values).tobytes())


def fnv1a(data: bytes) -> str:
    """Return the hash that the simulator's echo shows: it sees order and every bit."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def text_of(board: Board, method: str, params: Any) -> str:
    """Run and return the text, streamed or whole."""
    board.wire.request(method, params)
    messages = board.wire.until_final(1)
    assert "result" in messages[-1], messages[-1]
    return "".join(message["result"]["text"] for message in messages)


TENSOR = {"data": floats([0.5] * 4 * WIDTH), "dtype": "float32", "shape": [4, WIDTH]}
