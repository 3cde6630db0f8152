"""What a balancer is told of a board: whether it works, and how much it should get."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.boards import weight
from tests.gateway.statuses import IDLE, status

BUSY: dict[str, Any] = {**IDLE, "state": "running", "current": {"model_path": "/m/demo.gguf"}}


def heat(*celsius: float) -> list[dict[str, Any]]:
    return [
        {"name": "rkllmd_npu_temperature_celsius", "samples": [{"labels": {}, "value": value} for value in celsius]}
    ]


@pytest.mark.parametrize(
    ("shown", "waiting", "families", "line"),
    [
        (IDLE, 0, [], "up 100%"),
        (IDLE, 0, heat(), "up 100%"),
        (IDLE, 0, heat(75.0), "up 100%"),
        (IDLE, 0, heat(85.0), "up 50%"),
        (IDLE, 0, heat(120.0), "up 25%"),
        (BUSY, 0, heat(40.0), "up 50%"),
        (BUSY, 3, [], "up 20%"),
        (BUSY, 3, heat(85.0), "up 10%"),
        (BUSY, 255, heat(99.0), "up 1%"),
        ({**BUSY, "state": "wedged"}, 3, [], "down #wedged"),
        ({**IDLE, "device_lost": {}}, 0, [], "down #idle"),
        ({**IDLE, **status()}, 0, [], "down #idle"),
    ],
)
def test_the_busier_and_hotter_the_less(
    shown: dict[str, Any], waiting: int, families: list[dict[str, Any]], line: str
) -> None:
    assert weight.line(shown, {"limit": 256, "length": waiting}, families) == f"{line}\n"


def test_a_reason_stays_on_its_line() -> None:
    assert weight.down("no\ndaemon") == "down #no daemon\n"
