"""Visits about models: loads and unloads, adapters, prompt caches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from tests.soak.guest import Guest, opened
from tests.soak.place import Visit
from tests.wire_connection import kind

# Before a load that has failed is tried again.
_AGAIN_SECONDS: Final = 0.05


def model(visit: Visit, guest: Guest) -> int:
    """Return the handle of the model that is always loaded; after a crash somebody loads it again."""
    return _loaded(visit, guest, visit.company.place.model)


def _find(guest: Guest, path: Path) -> int | None:
    models = guest.ask("server.status")["result"]["models"]
    return next((item["handle"] for item in models if item["model_path"] == str(path)), None)


def _loaded(visit: Visit, guest: Guest, path: Path) -> int:
    found = next((item["handle"] for item in guest.status["models"] if item["model_path"] == str(path)), None)
    if found is not None:
        return int(found)
    with visit.company.loading:
        while (found := _find(guest, path)) is None:
            answer = _init(guest, path)
            if kind(answer) is None:
                return int(answer["result"]["handle"])
            time.sleep(_AGAIN_SECONDS)
    return found


def _init(guest: Guest, path: Path) -> dict[str, Any]:
    return load(guest, "rkllm.init", {"model_path": str(path), "max_new_tokens": 2000})


def load(guest: Guest, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Load a model of either kind; one that was set aside since it crashed the daemon, against its advice.

    Without that, a soak of less than an hour, whose crashes come close together, would go on without the model.
    """
    answer = guest.ask(method, params)
    return guest.ask(method, {**params, "force": True}) if kind(answer) == "Quarantined" else answer


def load_and_destroy(visit: Visit) -> None:
    """Load a second model with an adapter, use it, and unload it."""
    with opened(visit.company) as guest:
        model(visit, guest)
        if not visit.company.loading.acquire(blocking=False):
            return
        try:
            loaded = _init(guest, visit.company.place.second_model)
            if kind(loaded) is not None:
                return
            handle = loaded["result"]["handle"]
            guest.ask("rkllm.load_lora", [handle, {"lora_adapter_path": str(visit.company.place.adapter), "scale": 1}])
            mark = guest.mark()
            lora = {"lora_params": {"lora_adapter_name": "adapter"}}
            guest.ask("rkllm.run", {"handle": handle, "prompt": mark, **lora}, mark)
            guest.ask("rkllm.destroy", [handle])
        finally:
            visit.company.loading.release()


def adapters(visit: Visit) -> None:
    """Use an adapter of the model that stays, which the first one loads."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        models = guest.ask("server.status")["result"]["models"]
        if any(item["handle"] == handle and not item["lora_adapters"] for item in models):
            params = {"lora_adapter_path": str(visit.company.place.adapter), "lora_adapter_name": "voice", "scale": 1}
            guest.ask("rkllm.load_lora", [handle, params])
        mark = guest.mark()
        lora = {"lora_params": {"lora_adapter_name": "voice"}}
        guest.ask("rkllm.run_async", {"handle": handle, "prompt": mark, **lora}, mark)


def prompt_caches(visit: Visit) -> None:
    """Save a prompt cache by a path and one by a name, load and release it, and drop it now and then."""
    number = visit.choice.randrange(8)
    by_path = visit.company.place.writable / f"cache{number}"
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        for place in (str(by_path), f"name{number}"):
            mark = guest.mark()
            params = {"save_prompt_cache": 1, "prompt_cache_path": place}
            guest.ask("rkllm.run", {"handle": handle, "prompt": mark, "prompt_cache_params": params}, mark)
        # Somebody else may have dropped it, or it was never written.
        unknown = frozenset({"InvalidParams"})
        guest.answer(guest.begin("rkllm.load_prompt_cache", [handle, str(by_path)], may=unknown))
        guest.ask("rkllm.release_prompt_cache", [handle])
        guest.answer(guest.begin("server.drop_prompt_cache", {"name": f"name{number}"}, may=unknown))
