"""A stuck NPU: how it is detected, and what to do about it.

Three things show it: a call that takes longer than any call of its kind may, a run before whose first token nothing
happens, and lines of the runtimes that mean that the
driver has given up a job. From then on nothing is sent to the NPU, waiting calls are answered with ``DeviceLost``, and
after a while one call is let through to try it: the driver resets the NPU itself after a job that failed (driver
0.9.8), so that it may well work again, and on a robot nobody else would try.

Sources: the GPL driver 0.9.8 and public reports of what the runtimes print.
"""

from __future__ import annotations

import re
import time
from dataclasses import field
from datetime import UTC, datetime
from typing import Final

from rkllmd.errors import DeviceLost
from rkllmd.json_types import JsonObject
from rkllmd.quick_dataclass import dataclass

_RESTART: Final = (
    "Restart the daemon (systemctl restart rkllmd); if the NPU is stuck after that as well, reboot the board."
)
_OTHER_DOMAIN: Final = (
    "A job of one model holds the NPU while another model's is refused: unload one of them, or give both the same "
    "base_domain_id; then restart the daemon, and reboot if that does not help."
)

# Right behind the runtimes' own prefix: names that a client has given may stand anywhere else in a line.
_PREFIX: Final = r"^(?:[EWI] (?:RKNN|rkllm): )?(?:\[[\d :.]*\] )?(?:RKNPU: )?"
# What the runtimes print, and the advice for it.
_SIGNS: Final = (
    # Except EFAULT: then the memory of the model is gone, which is the end of the model and not of the NPU.
    (re.compile(_PREFIX + r"failed to submit!(?!.*errno: 14\b)"), _RESTART),
    (re.compile(_PREFIX + r"(?:job timeout|failed to wait job)"), _RESTART),
    (re.compile(_PREFIX + r"switch iommu domain time ?out"), _OTHER_DOMAIN),
    # EINVAL, 6 s after a job of another IOMMU domain has hung.
    (re.compile(_PREFIX + r"failed to (?:sync memory|submit).*errno: 22\b"), _OTHER_DOMAIN),
)
# With less, clients would come back again and again, at once, while another client's call tries the NPU.
_LEAST_WAIT_MS: Final = 100
_LINE_LENGTH: Final = 200


@dataclass
class Outage:
    """Since when the NPU is lost, why, and when one call may try again (by the monotonic clock)."""

    reason: str
    advice: str
    retry_at: float
    began: float
    # Seconds between two attempts.
    pause: float = field(default=0.0)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def describe(self, now: float) -> JsonObject:
        """Return what server.status shows, which is also the data of the error."""
        wait = self.retry_at - now
        return {
            "since": self.since,
            "for_ms": round((now - self.began) * 1000),
            "reason": self.reason,
            "advice": self.advice,
            "retry_after_ms": None if wait == float("inf") else max(_LEAST_WAIT_MS, round(wait * 1000)),
        }

    def error(self) -> DeviceLost:
        """Return the error for clients."""
        return DeviceLost(
            f"The NPU has been stuck since {self.since}: {self.reason} {self.advice}", **self.describe(time.monotonic())
        )


def from_line(line: str, pause: float) -> Outage | None:
    """Return the outage that a line of a runtime means, or None for any other line."""
    for pattern, advice in reversed(_SIGNS):  # the more specific ones are last
        if pattern.search(line):
            now = time.monotonic()
            return Outage(f"the runtime said {line[:_LINE_LENGTH]!r}.", advice, now + pause, now, pause)
    return None


def from_call(method: str, seconds: float) -> Outage:
    """Return the outage that is meant by a call that does not return; the NPU is back as soon as the call returns."""
    reason = f"{method} has not returned for {seconds:.0f} s."
    return Outage(reason, _RESTART, float("inf"), time.monotonic())


def from_silence(method: str, seconds: float) -> Outage:
    """Return the outage that is meant by a call in which nothing happens; as ``from_call``."""
    reason = f"{method} has no token after {seconds:.0f} s, and neither the processor nor the NPU works on it."
    return Outage(reason, _RESTART, float("inf"), time.monotonic())
