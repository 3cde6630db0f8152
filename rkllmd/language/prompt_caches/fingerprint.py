"""What a prompt cache depends on: a runtime that loads the cache of another model computes nonsense, or dies.

The vendor's runtime is not known to check the file that it loads, so the daemon does, for the caches that it keeps
itself (``language/prompt_caches/store.py``). Clients play no part here.
"""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import JsonObject

Fingerprint = dict[str, str | int]

# How each entry is called in a sentence.
_WORDS: Final = {
    "model_path": "another model",
    "model_bytes": "a model file of another size",
    "model_modified_ns": "a model file that was written to since",
    "model_sha256": "a model file with other contents",
    "runtime": "another runtime",
    "runtime_sha256": "another build of the runtime",
    "layout": "another struct layout",
    "n_batch": "another n_batch",
    "max_context_len": "another max_context_len",
    "lora_path": "another LoRA adapter of this name",
    "lora_bytes": "a LoRA adapter of another size",
    "lora_modified_ns": "a LoRA adapter that was written to since",
    "lora_sha256": "a LoRA adapter with other contents",
}


def differences(saved: Fingerprint, now: Fingerprint) -> list[JsonObject]:
    """Return what differs, as ``what``, ``saved`` and ``now``; None stands for an entry that one of them lacks."""
    return [
        {"what": key, "saved": saved.get(key), "now": now.get(key)}
        for key in dict.fromkeys([*_WORDS, *saved, *now])
        if saved.get(key) != now.get(key)
    ]


def in_words(found: list[JsonObject]) -> str:
    """Return the differences as the end of a sentence that begins with "it was made with"."""
    named = {item["what"]: item for item in found}
    for name in ("model", "lora"):  # a file at another path differs in everything else too
        if f"{name}_path" in named:
            named = {key: item for key, item in named.items() if not key.startswith(f"{name}_") or key.endswith("path")}
        elif f"{name}_sha256" in named:
            named.pop(f"{name}_modified_ns", None)
    if "runtime" in named:
        named.pop("runtime_sha256", None)
    return ", ".join(_one_in_words(key, item["saved"], item["now"]) for key, item in named.items())


def _one_in_words(key: str, saved: str | int | None, now: str | int | None) -> str:
    if key == "lora_path" and now is None:
        return f"the LoRA adapter {saved}, which is not loaded"
    words = _WORDS.get(key, key)
    return words if key.endswith(("sha256", "_ns")) else f"{words} ({saved}, now {now})"
