"""rkllm_abort: stop the model's running generation; its request is answered with what was generated.

C: int rkllm_abort(LLMHandle handle)
"""

from __future__ import annotations

import structlog

from rkllmd.calls import authority
from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import LATER, success
from rkllmd.errors import Timeout
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.npu import views
from rkllmd.npu.job import Job
from rkllmd.rkllm._common import LLM

log = structlog.get_logger()


@method(Kind.INSTANT, [LLM])
def abort(language: Language, invocation: Invocation, model: Model) -> JsonObject | object:
    """Stop the run, whichever client of the user started it; ``aborted`` says whether there was one.

    Another user's run goes on, and the error says so (``calls/authority.py``); of runs that share a batch, those of the
    user end. Without a run the C function is not
    called, since it is not known what an abort then does to the next run. It is called on a thread of its own; the
    answer comes when it has returned, or is Timeout if it takes longer than ``grace_ms``.
    """
    npu = language.npu
    running = npu.queue.running
    if running is None or running.target is not model or running.abort is None:
        return success(aborted=False)
    for run in _to_end(language, invocation, npu.queue.members or [running]):
        npu.cancel(run)
        if run.client is not invocation.client:
            log.info(
                "run_aborted",
                client=invocation.client.describe(),
                run_of=views.describe_client(run.client),
                handle=model.number,
            )

    def told(late: Timeout | None) -> None:
        if late is None:
            invocation.client.answer(invocation.call, success(aborted=True))
        else:
            invocation.client.refuse(invocation.call, late)

    npu.beside.when_returned(told)
    return LATER


def _to_end(language: Language, invocation: Invocation, runs: list[Job]) -> list[Job]:
    """Return those of the runs that the client may end, of several that share a batch. Raises PermissionDenied."""
    config, user = language.config, invocation.client.user
    found = [run for run in runs if run.user == user or authority.may(config, user, run.user)]
    if not found:
        authority.check_end(config, user, runs[0].user, "The run that goes on")
    return found
