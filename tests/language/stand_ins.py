"""What stands in tests for the parts of a daemon that a run of a model needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.wire.members import NO_MEMBERS


def invocation(client: int) -> Any:
    """Return a call of a client that still waits for its answer."""
    return SimpleNamespace(
        client=SimpleNamespace(number=client, user=None),
        call=SimpleNamespace(members=NO_MEMBERS, finished=False),
        job=None,
        is_cancelled=False,
        tensor=None,
    )
