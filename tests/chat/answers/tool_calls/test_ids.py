"""The ids of calls."""

from __future__ import annotations

import re

from rkllmd.chat.answers.tool_calls.ids import new_id, new_short_id


def test_they_look_as_clients_and_templates_want_them() -> None:
    assert re.fullmatch(r"call_[A-Za-z0-9]{24}", new_id())
    assert re.fullmatch(r"[A-Za-z0-9]{9}", new_short_id())
    assert len({new_id() for _ in range(100)}) == 100
