"""The facts of the C headers: structs, enums, macros, typedefs and functions, one JSON file for each header.

They were measured from the headers that came with the runtimes named in ``source``, none of which is part of this
project. Offsets and sizes are in bytes, for each data model:

- ``lp64``: 64 bits; aarch64 and x86-64 agree;
- ``arm32``: 32-bit ARM (armhf). What the headers declare otherwise there is in ``typedefs``.

The offset of a field is that in its own struct, or in the unnamed struct or union that it stands in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rkllmd.abi.architecture import IS_ARM_32

RKLLM_LAYOUTS = ("1.2", "1.3", "1.3.1")
RKNN_HEADERS = ("rknn_api", "rknn_matmul_api", "rknn_custom_op")
HEADERS = (*(f"rkllm-{layout}" for layout in RKLLM_LAYOUTS), *RKNN_HEADERS)
DATA_MODELS = ("lp64", "arm32")
OURS = "arm32" if IS_ARM_32 else "lp64"


def read(name: str, data_model: str = OURS) -> dict[str, Any]:
    """Return the facts of one header for a data model: ``read("rkllm-1.3")``, ``read("rknn_api", "arm32")``."""
    facts: dict[str, Any] = json.loads(
        Path(__file__).with_name(f"{name}.json").read_text(), object_hook=_of(data_model)
    )
    return facts


def _of(data_model: str) -> Any:
    def choose(read: dict[str, Any]) -> Any:
        return read[data_model] if read.keys() == set(DATA_MODELS) else read

    return choose


def functions(*names: str) -> dict[str, Any]:
    """Return the functions of some headers: C name → ``{"returns": type, "args": [[name, type], …]}``."""
    return {function: fact for name in names for function, fact in read(name)["functions"].items()}


def layout_macro(layout: str) -> str:
    """Return the compiler's option that chooses a layout of rkllm.h: ``-DRKLLM_LAYOUT=120``."""
    return f"-DRKLLM_LAYOUT={layout.replace('.', ''):0<3}"
