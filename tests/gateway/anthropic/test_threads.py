"""A conversation that is to be kept, or was, is refused by the codes of which Anthropic's clients know what to do."""

from __future__ import annotations

import pytest

from rkllmd.gateway.anthropic import shape
from rkllmd.gateway.anthropic.request import read
from rkllmd.gateway.failures import Failure


@pytest.mark.parametrize(
    ("thread", "status", "code"),
    [
        ({"type": "create"}, 400, "thread_unsupported_request"),
        ({"type": "continue", "previous_message_id": "msg_1"}, 404, "thread_not_found"),
    ],
)
def test_no_conversation_is_kept(thread: dict[str, str], status: int, code: str) -> None:
    with pytest.raises(Failure) as refused:
        read({"messages": [], "thread": thread})
    assert refused.value.status == status
    error = shape.error_body(refused.value)["error"]
    assert error["details"] == {"error_code": code}
    assert "send the whole of it" in error["message"]
    assert read({"messages": [{"role": "user", "content": "Hello"}], "thread": None}).params["messages"]
