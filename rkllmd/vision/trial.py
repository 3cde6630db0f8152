"""The trial of an RKNN model (``trials/trial.py``), which is a file with its weights, or bytes. No C is called here."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from rkllmd.json_types import JsonObject
from rkllmd.portable.rknn.models import external_data
from rkllmd.trials.trial import Files, Trial, is_on, key_of

if TYPE_CHECKING:
    from rkllmd.vision.parts import Vision


def of_file(vision: Vision, path: str, offset: int, part: int) -> Trial | None:
    """Return the trial of ``part`` bytes (0: all the rest) at ``offset`` of a file. Raises OSError."""
    if not is_on(vision):
        return None
    beside = external_data.files(path).values() if vision.runtime.name == "portable" and not part else ()
    files = Files([path, *beside])
    if files.are_ours:
        return None
    key = key_of("rknn", _runtime(vision), offset, part, files.identities())
    return Trial(path, _request(vision, path, offset, part), key, ends_with_client=True)


def named_in(vision: Vision, path: str) -> list[str]:
    """Return the paths of files with weights that a model names, for a runtime that reads them. Raises OSError."""
    return list(external_data.named(path).values()) if vision.runtime.name == "portable" else []


def of_bytes(vision: Vision, content: memoryview) -> Trial | None:
    """Return the trial of a model that a client has sent."""
    if not is_on(vision):
        return None
    key = key_of("rknn", _runtime(vision), hashlib.sha256(content).hexdigest())
    return Trial("The model", _request(vision, None, 0, 0), key, content=content, ends_with_client=True)


def _request(vision: Vision, path: str | None, offset: int, part: int) -> JsonObject:
    rknn = vision.runtime
    return {
        "runtime": "rknn",
        "library": None if rknn.name == "portable" else str(rknn.library.path),
        "layout": None if vision.config.rknn_layout == "auto" else vision.config.rknn_layout,
        "model_path": path,
        "offset": offset,
        "part": part,
        "tensor_bytes": vision.memory_guard.left_bytes(),
    }


def _runtime(vision: Vision) -> list[str]:
    rknn = vision.runtime
    engine = _onnxruntime() if rknn.name == "portable" else ""
    return [str(rknn.library.path), rknn.library.version, engine]


@cache
def _onnxruntime() -> str:
    from importlib import metadata  # which brings much along

    return metadata.version("onnxruntime")
