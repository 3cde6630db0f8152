"""What a prompt cache of a loaded model depends on: its fingerprint."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.machine.files import FileIdentity, identify

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.runtime import Runtime


@cache
def _identify_library(path: str) -> str:
    """Return the hash of a library, which stays loaded as long as the daemon runs; "" if its file is gone."""
    try:
        return identify(path).sha256
    except OSError:
        return ""


def of_model(runtime: Runtime, model: Model, lora_adapter: str | None) -> Fingerprint:
    """Return what a prompt cache of ``model`` with this adapter, if any, depends on; on the worker thread."""
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
