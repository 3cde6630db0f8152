"""What a daemon takes over at its start, and which models it loads.

Those that a crash has unloaded, and the configured ones as a client would, by rkllm.init.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog
import trio

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.failure import as_error
from rkllmd.config.settings import Config
from rkllmd.errors import ModelAlreadyLoaded
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Model
from rkllmd.language.models import recipe as model_recipe
from rkllmd.language.models.bringing_back import Returning
from rkllmd.language.models.loading import wake
from rkllmd.language.parts import Language
from rkllmd.language.runs.returning import load_again
from rkllmd.service import dispatch, jobs, preparation
from rkllmd.service.parts import Service
from rkllmd.wire import jsonrpc

log = structlog.get_logger()

# For how long the service manager is asked for patience at once, and how often.
EXTENSION_SECONDS: Final = 20
_EXTENDS_AFTER_SECONDS: Final = 5.0


def take_over(service: Service) -> tuple[list[Returning], dict[str, DetachedCall]]:
    """Take the models and the jobs of earlier daemons, before anybody can connect.

    Return the models that came back and are to be loaded at once, and the first load of those that are configured, by
    its path. That is queued before the jobs: a job may have been submitted while it loaded, in a daemon that was killed
    then.
    """
    kept = service.detached_calls.read()
    returning = jobs.bring_back_models(service, kept, because=service.crashes.fresh is not None)
    first = [] if len(service.language.models) else _wanted(service.config)[:1]
    begun = {path: _begin(service, path) for path in first}
    jobs.resume(service, kept)
    return returning, begun


async def load_what_was_loaded(service: Service, returning: list[Returning]) -> None:
    """Load the models again that a daemon had loaded when it crashed; whoever calls one meanwhile waits for it."""
    for item in returning:
        try:
            await service.npu.run("rkllm.init", partial(load_again, service.language, item))
        except Exception as error:
            told = as_error(error, "rkllm.init").to_json()
            log.error("model_not_loaded", model_path=item.model.path, handle=item.model.number, error=told)


async def load_models_at_start(
    service: Service,
    announce: Callable[[str], None],
    extend_start: Callable[[int], None],
    begun: Mapping[str, DetachedCall],
) -> None:
    """Load ``config.model``, and the declared models with ``autoload``, in the file's order; some loads have begun.

    A failure is logged and announced; the daemon goes on serving without the model. ``extend_start`` is called again
    and again while one loads, with the seconds for which the start may go on until the next time.
    """
    came_back = list(service.language.models)
    for path in _wanted(service.config):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_extend, service, extend_start)
            error = await _load(service, path, came_back, begun.get(path))
            nursery.cancel_scope.cancel()
        if error is None:
            announce(f"Model {path} is loaded.")
        else:
            log.error("model_not_loaded", model_path=path, error=error)
            announce(f"Model {path} is not loaded: {error['message']}")


async def _extend(service: Service, extend_start: Callable[[int], None]) -> None:
    """Extend the start, but not for a call that takes longer than it may, nor for an NPU that is stuck."""
    while True:
        running = service.npu.queue.running
        if service.npu.supervisor.outage is None and (running is None or running.timeout is None):
            extend_start(EXTENSION_SECONDS)
        await trio.sleep(_EXTENDS_AFTER_SECONDS)


def _wanted(config: Config) -> list[str]:
    """Return the paths and names of the models to load, each once."""
    loads = [model.name for model in config.models if model.autoload]
    return list(dict.fromkeys([config.model, *loads] if config.model else loads))


async def _load(service: Service, path: str, came_back: list[Model], begun: DetachedCall | None) -> JsonObject | None:
    """Load a model, or wait for its load; return the Error object of JSON-RPC if that failed.

    ``came_back``: those of an earlier daemon, for which calls wait: no other takes their place.
    """
    language = service.language
    if begun is None:
        try:
            same = _same(language, {"model_path": path}, came_back)
            if same is not None:
                await service.npu.run("rkllm.init", partial(wake, language, same))
                return None
            if came_back and len(language.models) >= language.config.max_models:
                raise ModelAlreadyLoaded("calls wait for another one that was loaded before.")
        except Exception as error:
            return as_error(error, "rkllm.init").to_json()
        begun = _begin(service, path)
    await begun.ended.wait()
    return begun.error


def _begin(service: Service, path: str) -> DetachedCall:
    """Queue the load of a model; return the call, which has ended if that is refused."""
    request = jsonrpc.Request(jsonrpc.ABSENT, "rkllm.init", {"model_path": path}, {})
    starter, call = DetachedCall(request.method, number=0, user=None, name="start"), jsonrpc.Call(request, None)
    try:
        dispatch.start(service, starter, call, preparation.prepare(service, starter, call))
    except Exception as error:
        dispatch.refuse(starter, call, error)
    return starter


def _same(language: Language, given: JsonObject, came_back: list[Model]) -> Model | None:
    """Return the one of these models that this load would load, if it is still there. Raises RpcError."""
    if not came_back:
        return None
    recipe = model_recipe.make(language, given, "$")
    return next(
        (
            model
            for model in came_back
            if model.is_alive and model.path == recipe.path and model.sameness == recipe.sameness
        ),
        None,
    )
