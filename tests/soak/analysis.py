"""Whether a series of samples grows: the Theil-Sen slope, held against what may grow in that time.

The median of the slopes between all pairs of samples (Theil 1950, Sen 1968) does not mind the spikes of a mixed load:
up to 29 % of the samples may be anything. A series fails only if the lower end of the slope's confidence interval
(Sen's, by Kendall's variance) is above what is allowed, so that noise alone makes none fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

# One-sided: of 10 000 series that do not grow, 14 have a lower end above zero.
_DEVIATIONS: Final = 3.0
# With fewer samples no slope is certain.
LEAST_SAMPLES: Final = 12


@dataclass(frozen=True)
class Limit:
    """How much a series may grow: ``least`` in a run however short, or ``per_hour``, or a ``share`` of its median.

    ``reason`` says why that much.
    """

    least: float
    reason: str
    per_hour: float = 0.0
    share: float = 0.0

    def allowed(self, hours: float, middle: float) -> float:
        """Return by how much a series with this median may have grown after this many hours."""
        return max(self.least, self.per_hour * hours, self.share * middle)


@dataclass(frozen=True)
class Trend:
    """How a series has gone: by how much it has grown in all, surely and probably, and how much it might have."""

    name: str
    samples: int
    hours: float
    middle: float
    growth: float
    certain_growth: float
    allowed: float

    @property
    def leaks(self) -> bool:
        """Return whether it has surely grown by more than it may."""
        return self.certain_growth > self.allowed


def trend(name: str, seconds: Sequence[float], values: Sequence[float], limit: Limit) -> Trend:
    """Judge a series. Raises ValueError for one with fewer than LEAST_SAMPLES samples."""
    if len(values) < LEAST_SAMPLES:
        raise ValueError(f"{name}: {len(values)} samples, and {LEAST_SAMPLES} are needed")
    slopes = sorted(
        (values[later] - values[earlier]) / (seconds[later] - seconds[earlier])
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    )
    span = seconds[-1] - seconds[0]
    hours, middle = span / 3600, median(values)
    count = len(values)
    spread = _DEVIATIONS * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lower = slopes[max(0, round((len(slopes) - spread) / 2))]
    return Trend(name, count, hours, middle, median(slopes) * span, lower * span, limit.allowed(hours, middle))
