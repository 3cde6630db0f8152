"""The facts of the C headers: structs, enums, macros, typedefs and functions, one JSON file for each header.

They were measured from the headers that came with the runtimes named in ``source``, none of which is part of this
project; offsets and sizes are in bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RKNN_HEADERS = ("rknn_api", "rknn_matmul_api", "rknn_custom_op")


def read(name: str) -> dict[str, Any]:
    """Return the facts of one header: ``read("rkllm-1.3")``, ``read("rknn_api")``."""
    facts: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return facts


def functions(*names: str) -> dict[str, Any]:
    """Return the functions of some headers: C name → ``{"returns": type, "args": [[name, type], …]}``."""
    return {function: fact for name in names for function, fact in read(name)["functions"].items()}
