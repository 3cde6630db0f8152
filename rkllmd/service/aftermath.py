"""What follows from the crash of the previous daemon: it is reported, and counts against the model whose call it was.

Which models come back is in ``jobs.py``, since jobs wait for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rkllmd.json_types import JsonObject
from rkllmd.service import crashes
from rkllmd.trials.quarantine import CrashOfCall, state_of

if TYPE_CHECKING:
    from rkllmd.service.parts import Service

_FROM_OUTSIDE: Final = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


def take_over(service: Service, reports: int) -> None:
    """Take what the keeper reports: it is logged, and counts against the models whose calls it were."""
    for crash in crashes.read(reports):
        service.crashes.take(crash)
        _count(service, crash)


def _count(service: Service, crash: JsonObject) -> None:
    call = crash["call"]
    if call is None or call["model_path"] is None or _is_from_outside(crash):
        return
    part = service.language if call["function"].startswith("rkllm") else service.vision
    if not part.runtime.is_usable:
        return
    model, at = call["model_path"], datetime.fromisoformat(crash["at"]).timestamp()
    state = state_of(model, str(part.runtime.library.path), service.config)
    part.trials.quarantine.note(CrashOfCall(call["function"], model, at, crash["end"]), state)


def _is_from_outside(crash: JsonObject) -> bool:
    """Return whether somebody has killed the daemon, which says nothing about the call that it was in."""
    return crash["signal"] in _FROM_OUTSIDE and not (crash["stuck"] or crash["out_of_memory"])
