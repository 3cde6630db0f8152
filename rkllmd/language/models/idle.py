"""Unloads language models that nobody has used for long; they sleep and are loaded again for the next call."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
import trio

from rkllmd.errors import ShuttingDown
from rkllmd.language.models.loading import put_to_sleep
from rkllmd.npu.job import Job

if TYPE_CHECKING:
    import outcome

    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

log = structlog.get_logger()

# Without anything to wait for, a look a minute: a reload may bring a limit, and minutes are its unit.
_MOST_SECONDS: Final = 60.0
# However short the limits are, the daemon has more to do than to look.
_LEAST_SECONDS: Final = 0.05


class Look(NamedTuple):
    """What there is to do: whom to unload, and after how many seconds to look again."""

    due: list[Model]
    seconds: float


def look(language: Language, now: float) -> Look:
    """Return which models have been unused for as long as they may at ``now`` (of ``time.monotonic``)."""
    due: list[Model] = []
    # A model that is loaded after this look is due no sooner than the shortest limit.
    limits = [language.config.model_idle_minutes, *(model.idle_minutes or 0 for model in language.config.models)]
    seconds = min([limit * 60 for limit in limits if limit], default=_MOST_SECONDS)
    for model in language.models:
        limit = language.config.model_idle_minutes if model.idle_minutes is None else model.idle_minutes
        if not limit or model.is_asleep:
            continue
        left = limit * 60 - (now - model.used_at)
        if left > 0:
            seconds = min(seconds, left)
        elif not language.npu.queue.uses(model):
            due.append(model)
    return Look(due, min(max(seconds, _LEAST_SECONDS), _MOST_SECONDS))


async def unload_idle_models(language: Language) -> None:
    """Look for idle models for as long as the daemon lives."""
    while True:
        due, seconds = look(language, time.monotonic())
        for model in due:
            # The model is its target, so that what comes in for it from now on waits behind it.
            job = Job("rkllm.destroy", partial(_sleep, language, model), partial(_done, model), target=model)
            language.npu.submit(job)
        await trio.sleep(seconds)


def _sleep(language: Language, model: Model) -> None:
    """Run on the worker thread."""
    # Somebody may have come while it waited for the worker; the model would be loaded again at once.
    if model.is_alive and not language.npu.queue.waits_for(model):
        put_to_sleep(language, model)
        log.info("model_asleep", handle=model.number, name=model.name, model_path=model.path)


def _done(model: Model, result: outcome.Outcome[None]) -> None:
    try:
        result.unwrap()
    except ShuttingDown:  # which unloads all of them
        pass
    except Exception as error:
        log.error("model_not_unloaded", model_path=model.path, exc_info=error)
