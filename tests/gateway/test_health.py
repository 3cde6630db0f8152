"""What balancers are told."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway import health
from tests.gateway.statuses import IDLE, status

QUEUE = {"limit": 256, "length": 2}


def test_the_places_of_the_queue_are_told() -> None:
    shown = health.health({**IDLE, "current": {}}, QUEUE)
    assert shown == (200, {"status": "ok", "slots": {"total": 256, "active": 1, "waiting": 2}})


def test_a_lost_device_is_not_healthy() -> None:
    assert health.health({**IDLE, "device_lost": {}}, QUEUE)[0] == 503


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (IDLE, 200),
        ({**IDLE, "state": "running"}, 200),
        ({**IDLE, "state": "wedged"}, 503),
        ({**IDLE, "device_lost": {}}, 503),
        ({**IDLE, **status()}, 503),
    ],
)
def test_ready_is_who_would_begin_a_run(shown: dict[str, Any], code: int) -> None:
    assert health.readiness(shown)[0] == code
