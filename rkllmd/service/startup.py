"""Loads the configured models at start, as a client would: by rkllm.init."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from rkllmd.calls.detached import DetachedCall
from rkllmd.calls.failure import as_error
from rkllmd.config.settings import Config
from rkllmd.json_types import JsonObject
from rkllmd.service import dispatch, preparation
from rkllmd.service.parts import Service
from rkllmd.wire import jsonrpc

log = structlog.get_logger()


async def load_models_at_start(service: Service, announce: Callable[[str], None]) -> None:
    """Load ``config.model``, and the declared models with ``autoload``, in the file's order.

    A failure is logged and announced; the daemon goes on serving without the model.
    """
    for path in _wanted(service.config):
        error = await _load(service, path)
        if error is None:
            announce(f"Model {path} is loaded.")
        else:
            log.error("model_not_loaded", model_path=path, error=error)
            announce(f"Model {path} is not loaded: {error['message']}")


def _wanted(config: Config) -> list[str]:
    """Return the paths and names of the models to load, each once."""
    loads = [model.name for model in config.models if model.autoload]
    return list(dict.fromkeys([config.model, *loads] if config.model else loads))


async def _load(service: Service, path: str) -> JsonObject | None:
    """Load a model; return the Error object of JSON-RPC if that failed."""
    request = jsonrpc.Request(jsonrpc.ABSENT, "rkllm.init", {"model_path": path}, {})
    starter, call = DetachedCall(request.method, number=0, user=None, name="start"), jsonrpc.Call(request, None)
    try:
        dispatch.start(service, starter, call, preparation.prepare(service, starter, call))
        await starter.ended.wait()
    except Exception as error:
        return as_error(error, request.method).to_json()
    return starter.error
