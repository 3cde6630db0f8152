"""Models of RKNN's simulator, and what it makes of an input."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rkllmd.abi.layouts import rknn_matmul
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type

ROOT = Path(__file__).parents[4]
ANY = b"any bytes"  # the default model
IMAGE = bytes(range(48))
SUM = sum(IMAGE)
Script = Callable[[str], None]

TWO = b"""RKNNSIM
# two of each, and shapes
input name=pixels type=uint8 dims=1,2,2,3|1,4,2,3
input name=state type=float32 dims=2,5
output name=same type=uint8 dims=1,3,2,2|1,3,4,2
output name=other type=float16 dims=1,4
weights 100000
internal 5000
string hello, world
"""
SCALED = b"""RKNNSIM
input name=x type=int8 dims=1,8 scale=0.5 zp=2
output name=y type=int8 dims=1,8 scale=0.5 zp=2
operator type=Scale output=0 name:string=twice factor:float32=3 axes:int64=-1,2
"""


def wrapped(number: int) -> int:
    return (number + 128) % 256 - 128


def signed(data: bytes) -> list[int]:
    return list(array("b", data))


def matmul_info(kind: rknn_matmul_type, m: int, k: int, n: int, **fields: int) -> Any:
    return rknn_matmul.rknn_matmul_info(M=m, K=k, N=n, type=kind, **fields)


def play(program: str, scenario: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "RKNN_SIMULATOR": scenario, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
