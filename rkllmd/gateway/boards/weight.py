"""How much a balancer is to give this board, as a line of HAProxy's agent checks (its manual, ``agent-check``).

A line says two things at once, each of which lasts until another line says otherwise: whether the board works (``up``,
``down``, ``stopped``), and its weight in percent. Whether it is taken out (``ready``, ``drain``, ``maint``) is left to
the administrator of the balancer: a line would undo what was said there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rkllmd.gateway import health
from rkllmd.json_types import JsonObject

# A gateway that was asked to end: calls go elsewhere, also those of conversations that this board has.
ENDING: Final = "stopped #the gateway ends\n"
_OK: Final = 200
# Rockchip's kernels begin to slow the NPU down at some 85 °C; a hot board gets less work before it comes to that.
_WARM_CELSIUS: Final = 75
_HOT_CELSIUS: Final = 95
_LEAST_HEAT_SHARE: Final = 0.25


def line(status: JsonObject, queue: JsonObject, families: Iterable[JsonObject]) -> str:
    """Return the line for what ``server.status``, ``server.queue`` and ``server.metrics`` (its ``families``) say."""
    code, shown = health.readiness(status)
    if code != _OK:
        return down(str(shown["state"]))
    busy = queue["length"] + (0 if status["current"] is None else 1)
    return f"up {max(1, round(100 * _cool_share(families) / (1 + busy)))}%\n"


def down(reason: str) -> str:
    """Return the line of a board that does not serve; HAProxy shows the reason."""
    return f"down #{' '.join(reason.split())}\n"


def _cool_share(families: Iterable[JsonObject]) -> float:
    """Return which part of its work a board as hot as this one should get, from 1 down to a quarter."""
    found = (item["samples"] for item in families if item["name"] == "rkllmd_npu_temperature_celsius")
    celsius = max((sample["value"] for samples in found for sample in samples), default=0.0)
    share = 1 - (celsius - _WARM_CELSIUS) / (_HOT_CELSIUS - _WARM_CELSIUS)
    return min(1.0, max(_LEAST_HEAT_SHARE, float(share)))
