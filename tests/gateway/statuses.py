"""What ``server.status`` says of models, as far as the gateway reads it."""

from __future__ import annotations

from typing import Any


def status(
    *found: tuple[int, str | None, str],
    declared: tuple[str, ...] = (),
    swap: bool = False,
    asleep: tuple[int, ...] = (),
    working_on: str | None = None,
    n_batch: int = 1,
) -> dict[str, Any]:
    """Return it for models (handle, name, path); of ``declared`` ones the path is ``/m/NAME.gguf``."""
    shown = [
        {
            "handle": handle,
            "name": name,
            "model_path": path,
            "state": "asleep" if handle in asleep else "loaded",
            "size_bytes": 5,
            "max_context_len": 4096,
            "trained_context_len": None,
            "vision": None,
            "pooling": None,
            "thinking": None,
            "infill": None,
            "n_batch": n_batch,
        }
        for handle, name, path in found
    ]
    names = [{"name": name, "model_path": f"/m/{name}.gguf", "swap": swap, "vision": None} for name in declared]
    current = None if working_on is None else {"model_path": working_on}
    return {
        "models": shown,
        "declared": list(declared),
        "declared_models": names,
        "current": current,
        "versions": {"daemon": "1.0"},
        "daemon_pid": 7,
    }


TWO = status((1, "demo", "/m/demo.gguf"), (2, None, "/m/qwen3-1.7b.rkllm"), declared=("demo", "large"))
IDLE: dict[str, Any] = {**TWO, "state": "idle", "current": None, "device_lost": None}


def known(handle: int, pid: int = 7) -> dict[str, Any]:
    """Return what the event "models" says where the first of them is loaded with this handle."""
    return {
        "models": [{**TWO["models"][0], "handle": handle}],
        "declared": [],
        "declared_models": [],
        "daemon_pid": pid,
    }
