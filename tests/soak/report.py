"""What the samples say: which series grow, as text, and all of them as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, fields
from itertools import pairwise
from pathlib import Path
from typing import Final, TextIO

from tests.soak.analysis import LEAST_SAMPLES, Trend, trend
from tests.soak.sampler import LIMITS, Sample

# Of the time since the last crash (of the keeper: since the beginning), how much does not count: caches fill, modules
# are imported, the allocator finds its size.
_WARM_UP: Final = 0.25


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Judge each series: of the daemon since its last crash, of the keeper from the beginning, after the warm-up.

    Series with too few samples for a slope are left out.
    """
    found = []
    for name, limit in LIMITS.items():
        counted = judged(samples, name)
        if len(counted) >= LEAST_SAMPLES:
            seconds, values = [item.seconds for item in counted], [float(getattr(item, name)) for item in counted]
            found.append(trend(name, seconds, values, limit))
    return found


def judged(samples: Sequence[Sample], name: str) -> list[Sample]:
    """Return the samples of a series that count: after the warm-up, with something measured."""
    if not samples:
        return []
    last = samples[-1].crashes
    same = [item for item in samples if name.startswith("keeper") or item.crashes == last]
    begin, end = same[0].seconds, same[-1].seconds
    counted = [item for item in same if item.seconds >= begin + _WARM_UP * (end - begin)]
    return [item for item in counted if not math.isnan(getattr(item, name))]


def table(found: Sequence[Trend]) -> str:
    """Return a line for each series."""
    lines = [f"{'series':<22} {'samples':>7} {'hours':>6} {'median':>10} {'growth':>9} {'certain':>9} {'allowed':>9}"]
    lines += [
        f"{item.name:<22} {item.samples:>7} {item.hours:>6.2f} {item.middle:>10.2f} {item.growth:>+9.2f} "
        f"{item.certain_growth:>+9.2f} {item.allowed:>9.2f}{'  GROWS' if item.leaks else ''}"
        for item in found
    ]
    return "\n".join(lines)


def write(samples: Sequence[Sample], file: TextIO) -> None:
    """Write all samples as CSV."""
    writer = csv.writer(file)
    writer.writerow(field.name for field in fields(Sample))
    for sample in samples:
        writer.writerow(round(value, 3) if isinstance(value, float) else value for value in astuple(sample))


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw each series with its slope and the crashes. Needs matplotlib (``pip install .[soak]``)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(LIMITS)
    by_name = {item.name: item for item in trends(samples)}
    crashes = [later.seconds for earlier, later in pairwise(samples) if later.crashes > earlier.crashes]
    figure, places = plt.subplots((len(names) + 1) // 2, 2, figsize=(16, 3 * ((len(names) + 1) // 2)))
    for name, place in zip(names, places.flat, strict=False):
        seconds = [item.seconds / 60 for item in samples]
        place.plot(seconds, [getattr(item, name) for item in samples], linewidth=0.8)
        for crash in crashes:
            place.axvline(crash / 60, color="tab:red", alpha=0.3, linewidth=0.8)
        title = name
        if name in by_name:
            found, counted = by_name[name], judged(samples, name)
            ends = [counted[0].seconds / 60, counted[-1].seconds / 60]
            place.plot(ends, [found.middle - found.growth / 2, found.middle + found.growth / 2], color="tab:orange")
            title += f": {found.growth:+.2f}, allowed {found.allowed:.2f}{' - GROWS' if found.leaks else ''}"
        place.set_title(title, fontsize=10)
        place.set_xlabel("minutes")
        place.set_ylim(bottom=0)
    for place in list(places.flat)[len(names) :]:
        place.remove()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
