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
from rkllmd.rkllm._common import LLM

log = structlog.get_logger()


@method(Kind.INSTANT, [LLM])
def abort(language: Language, invocation: Invocation, model: Model) -> JsonObject | object:
    """Stop the run, whichever client of the user started it; ``aborted`` says whether there was one.

    Another user's run goes on, and the error says so (``calls/authority.py``). Without a run the C function is not
    called, since it is not known what an abort then does to the next run. It is called on a thread of its own; the
    answer comes when it has returned, or is Timeout if it takes longer than ``grace_ms``.
    """
    npu = language.npu
    running = npu.queue.running
    if running is None or running.target is not model or running.abort is None:
        return success(aborted=False)
    authority.check_end(language.config, invocation.client.user, running.user, "The run that goes on")
    npu.cancel(running)
    if running.client is not invocation.client:
        log.info(
            "run_aborted",
            client=invocation.client.describe(),
            run_of=views.describe_client(running.client),
            handle=model.number,
        )

    def told(late: Timeout | None) -> None:
        if late is None:
            invocation.client.answer(invocation.call, success(aborted=True))
        else:
            invocation.client.refuse(invocation.call, late)

    npu.beside.when_returned(told)
    return LATER
