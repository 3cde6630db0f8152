"""The vendor's RKNN library: find it, identify it, refuse a version that is not known to have our structs, bind it.

rknn_api.h has grown with every release, and no function that works without a loaded model could prove a layout by its
answer. So the version in the file alone decides, and ``--rknn-layout`` is for people who know better.
"""

from __future__ import annotations

import re
from pathlib import Path

from rkllmd.abi.c_types import CFunction, Signature
from rkllmd.abi.layouts import rknn, rknn_constants, rknn_custom_op, rknn_matmul
from rkllmd.abi.library import Functions, Identity, LibraryFile, bind, identify, open_library, refuse_unknown_machine
from rkllmd.errors import RuntimeUnavailable

LAYOUT = "2.3.2"
RKNN_FILE = LibraryFile(
    name="librknnrt.so",
    label="RKNN",
    environment="RKNN_LIB_PATH",
    option="--rknn-library",
    supported=LAYOUT,
    # "librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)"
    version=re.compile(rb"librknnrt version:\s*(\d+\.\d+\.\d+[\w.+~-]{0,32})\s*\(?([^)\0]{0,256})"),
    indispensable=("rknn_init", "rknn_query", "rknn_run", "rknn_destroy"),
)
SIGNATURES: dict[str, Signature] = {**rknn.SIGNATURES, **rknn_matmul.SIGNATURES, **rknn_custom_op.SIGNATURES}


def load(path: str | Path, layout_override: str | None = None) -> Functions:
    """Identify, load and bind the library at ``path``. Raises RuntimeUnavailable: what is wrong, and a fix."""
    path = Path(path).absolute()  # dlopen searches for a bare name instead of taking the file beside us
    identity = identify(path, RKNN_FILE)
    _check_version(path, identity, layout_override)
    refuse_unknown_machine(path, RKNN_FILE)
    dll = open_library(path, RKNN_FILE)
    runtime = f"rknn {identity.version or 'unknown'}"
    functions = {name: bind(dll, name, signature, runtime) for name, signature in SIGNATURES.items()}
    return Functions(RKNN_FILE.label, path, identity, functions, dll, _types())


def _types() -> dict[str, object]:
    modules = (rknn, rknn_constants, rknn_matmul, rknn_custom_op)
    return {name: value for module in modules for name, value in vars(module).items()}


def in_python(functions: dict[str, CFunction], version: str, path: Path) -> Functions:
    """Return a runtime whose C functions are made in this process."""
    return Functions(RKNN_FILE.label, path, Identity(version), functions)


def _check_version(path: Path, identity: Identity, layout_override: str | None) -> None:
    if layout_override == LAYOUT or identity.version == LAYOUT:
        return
    what = f"is RKNN runtime {identity.version}" if identity.version else "does not name an RKNN version"
    raise RuntimeUnavailable(
        f"{path} {what}; supported is {LAYOUT}. Its structs may differ, so it was not loaded.",
        searched=[],
        found=f"{path} ({identity.version or 'no version'})",
        fix=f"Install runtime {LAYOUT}, or, if you know that this one has its structs, use --rknn-layout {LAYOUT}.",
    )
