"""/v1/messages as a protocol of runs."""

from __future__ import annotations

import secrets
from typing import Final

from rkllmd.gateway.anthropic import request, shape
from rkllmd.gateway.anthropic.answer import MessageAnswer
from rkllmd.gateway.run import Framing, Protocol, Wanted


def _answer(wanted: Wanted, model: str) -> MessageAnswer:
    answer_id = f"msg_{secrets.token_hex(12)}"
    hides_thoughts = wanted.for_answer["hides_thoughts"]
    return MessageAnswer(model, answer_id, single_call=wanted.single_call, hides_thoughts=hides_thoughts)


MESSAGES: Final = Protocol(request.read, _answer, shape.error_body, Framing.NAMED_EVENTS)
