"""What ``server.status`` says of models, as far as the gateway reads it."""

from __future__ import annotations

from typing import Any


def status(*found: tuple[int, str | None, str], declared: tuple[str, ...] = ()) -> dict[str, Any]:
    shown = [
        {
            "handle": handle,
            "name": name,
            "model_path": path,
            "state": "loaded",
            "size_bytes": 5,
            "max_context_len": 4096,
            "trained_context_len": None,
            "unused_s": 1.0,
            "vision": None,
        }
        for handle, name, path in found
    ]
    return {"models": shown, "declared": list(declared)}


TWO = status((1, "demo", "/m/demo.gguf"), (2, None, "/m/qwen3-1.7b.rkllm"), declared=("demo", "large"))
