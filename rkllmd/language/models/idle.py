"""Unloads language models that nobody has used for long; they sleep until the next call loads them again."""

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

# Without a limit it looks once a minute, the unit of the limits: a reload of the configuration may bring one.
_MOST_SECONDS: Final = 60.0
# However short the limits are, looking more often than this would cost the daemon too much.
_LEAST_SECONDS: Final = 0.05


class Look(NamedTuple):
    """Which models are to be unloaded now, and after how many seconds to look again."""

    due: list[Model]
    seconds: float


def look(language: Language, now: float) -> Look:
    """Return which models have been unused for their whole limit at ``now`` (of ``time.monotonic``)."""
    due: list[Model] = []
    # A model that is loaded after this look becomes due after the shortest limit at the earliest.
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
            # The model is the job's target, so that calls for it that come from now on wait behind the job.
            job = Job("rkllm.destroy", partial(_sleep, language, model), partial(_done, model), target=model)
            language.npu.submit(job)
        await trio.sleep(seconds)


def _sleep(language: Language, model: Model) -> None:
    """Run on the worker thread."""
    # A call for the model may have come while this job waited; it would load the model again at once.
    if model.is_alive and not language.npu.queue.waits_for(model):
        put_to_sleep(language, model)
        language.remembered.put(model)
        log.info("model_asleep", handle=model.number, name=model.name, model_path=model.path)


def _done(model: Model, result: outcome.Outcome[None]) -> None:
    try:
        result.unwrap()
    except ShuttingDown:  # the shutdown unloads all models anyway
        pass
    except Exception as error:
        log.error("model_not_unloaded", model_path=model.path, exc_info=error)
