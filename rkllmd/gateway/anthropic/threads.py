"""Conversations that a server keeps for its clients (``thread``): none is kept here.

Clients whose tools run in a loop ask for one first, and send the whole conversation once these errors say that there
is none.
"""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields

_UNSUPPORTED: Final = "ThreadUnsupported"
_NOT_FOUND: Final = "ThreadNotFound"
# Anthropic's codes for these kinds of failures, of which its clients know what to do.
CODES: Final = {_UNSUPPORTED: "thread_unsupported_request", _NOT_FOUND: "thread_not_found"}
_WHY: Final = "no conversation is kept here: send the whole of it as messages, without thread."


def take(fields: Fields) -> None:
    """Take whether the conversation is to be kept, or is one that was. Raises Failure where it is, WrongField."""
    thread = fields.inner("thread")
    kind = thread.choice("type", ("create", "continue"))
    thread.without_effect(("previous_message_id",))
    thread.end()
    if kind == "create":
        raise Failure(400, _UNSUPPORTED, f"thread is not supported, since {_WHY}", "thread")
    if kind == "continue":
        raise Failure(404, _NOT_FOUND, f"thread is not found, since {_WHY}", "thread")
