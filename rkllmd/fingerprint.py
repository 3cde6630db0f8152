"""What a prompt cache depends on: a runtime that gets one of another model computes nonsense, or dies.

The vendor's runtime is not known to check the file that it loads, so the daemon does, for the caches that it keeps
itself (``prompt_caches.py``). Nothing here is about a client.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rkllmd.handles import Model
    from rkllmd.runtime import Runtime

# Header, tokenizer and metadata are at one end of a model's file, weights at the other; all of it would take a minute.
_END_BYTES: Final = 2**20

Fingerprint = dict[str, str | int]

# How each entry is called in a sentence.
_WORDS: Final = {
    "model_path": "another model",
    "model_bytes": "a model file of another size",
    "model_modified_ns": "a model file that has been written again since",
    "model_sha256": "a model file with other contents",
    "runtime": "another runtime",
    "runtime_sha256": "another build of the runtime",
    "layout": "another struct layout",
    "n_batch": "another n_batch",
    "max_context_len": "another max_context_len",
    "lora_path": "another LoRA adapter of the name",
    "lora_bytes": "a LoRA adapter of another size",
    "lora_modified_ns": "a LoRA adapter that has been written again since",
    "lora_sha256": "a LoRA adapter with other contents",
}


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file it is, and a hash of its first and last MiB."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def identify(path: str) -> FileIdentity:
    """Look at a file. Raises OSError."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(_END_BYTES, status.st_size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return FileIdentity(os.path.realpath(path), status.st_size, status.st_mtime_ns, digest.hexdigest())


@cache
def _identify_library(path: str) -> str:
    """Return the hash of a file that is loaded for the daemon's life; "" where it is gone from the disk."""
    try:
        return identify(path).sha256
    except OSError:
        return ""


def of_model(runtime: Runtime, model: Model, lora_adapter: str | None) -> Fingerprint:
    """Return what a cache of ``model`` depends on, made with this adapter or none; on the worker thread."""
    library = runtime.library
    found: Fingerprint = {
        "runtime": f"{runtime.name} {library.version}",
        "layout": library.layout.name,
        "n_batch": model.n_batch,
        "max_context_len": model.max_context_len,
    }
    found["runtime_sha256"] = _identify_library(str(library.path))
    if model.file is not None:
        found |= _entries("model", model.file)
    if lora_adapter is not None:
        found["lora_adapter"] = lora_adapter
        adapter = model.lora_files.get(lora_adapter)
        if adapter is not None:
            found |= _entries("lora", adapter)
    return found


def _entries(name: str, file: FileIdentity) -> Fingerprint:
    return {
        f"{name}_path": file.path,
        f"{name}_bytes": file.size_bytes,
        f"{name}_modified_ns": file.modified_ns,
        f"{name}_sha256": file.sha256,
    }


def differences(saved: Fingerprint, now: Fingerprint) -> list[dict[str, Any]]:
    """Return what differs: ``what``, ``saved`` and ``now``, None where one has it not."""
    return [
        {"what": key, "saved": saved.get(key), "now": now.get(key)}
        for key in dict.fromkeys([*_WORDS, *saved, *now])
        if saved.get(key) != now.get(key)
    ]


def in_words(found: list[dict[str, Any]]) -> str:
    """Return the differences as the end of a sentence that begins with "it was made with"."""
    named = {item["what"]: item for item in found}
    for name in ("model", "lora"):  # a file of another path differs in all else too
        if f"{name}_path" in named:
            named = {key: item for key, item in named.items() if not key.startswith(f"{name}_") or key.endswith("path")}
        elif f"{name}_sha256" in named:
            named.pop(f"{name}_modified_ns", None)
    if "runtime" in named:
        named.pop("runtime_sha256", None)
    return ", ".join(_one_in_words(key, item["saved"], item["now"]) for key, item in named.items())


def _one_in_words(key: str, saved: Any, now: Any) -> str:
    if key == "lora_path" and now is None:
        return f"the LoRA adapter {saved}, which is not loaded"
    words = _WORDS.get(key, key)
    return words if key.endswith(("sha256", "_ns")) else f"{words} ({saved}, now {now})"
