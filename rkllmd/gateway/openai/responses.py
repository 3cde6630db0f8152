"""/v1/responses as a protocol of runs."""

from __future__ import annotations

import secrets
import time
from typing import Final

from rkllmd.gateway.openai import response_request, shape
from rkllmd.gateway.openai.response_answer import ResponseAnswer
from rkllmd.gateway.run import Framing, Protocol, Wanted


def _answer(wanted: Wanted, model: str) -> ResponseAnswer:
    answer_id = f"resp_{secrets.token_hex(12)}"
    return ResponseAnswer(
        model, answer_id, int(time.time()), **wanted.for_answer, custom=wanted.custom, single_call=wanted.single_call
    )


RESPONSES: Final = Protocol(response_request.read, _answer, shape.error_body, framing=Framing.NAMED_EVENTS)
