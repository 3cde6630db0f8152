"""/v1/chat/completions as a protocol of runs."""

from __future__ import annotations

import secrets
import time
from typing import Final

from rkllmd.gateway.openai import chat_request, shape
from rkllmd.gateway.openai.chat_answer import ChatAnswer
from rkllmd.gateway.run import Framing, Protocol, Wanted


def _answer(wanted: Wanted, model: str) -> ChatAnswer:
    answer_id = f"chatcmpl-{secrets.token_hex(12)}"
    return ChatAnswer(
        model,
        answer_id,
        int(time.time()),
        includes_usage=wanted.includes_usage,
        single_call=wanted.single_call,
        custom=wanted.custom,
        choices=wanted.choices,
    )


CHAT: Final = Protocol(chat_request.read, _answer, shape.error_body, Framing.EVENTS)
