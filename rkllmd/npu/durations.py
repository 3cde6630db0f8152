"""How long calls have taken, so that a wait can be estimated before it is over (``npu/estimates.py``).

One running mean for each method and model, kept across restarts in the daemon's state directory. A mean that follows
the last few calls: a model is converted anew, a prompt grows, a board is clocked down.
"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any, Final

from rkllmd.machine import state_file

# The weight of the newest call once there are enough: the last ten make up nine tenths of the mean.
_WEIGHT: Final = 0.2
_MOST_ENTRIES: Final = 1000
# A write for each call would wear out an SD card; what is lost by a crash is learned again.
_SAVE_SECONDS: Final = 60.0


class Durations:
    """Mean durations in milliseconds by method and model, and how many calls each rests on."""

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier daemon has learned, if ``path`` is given and readable."""
        self._path = path
        self._means: dict[str, tuple[float, int]] = state_file.read(path, "history", _means_in, {})
        self._saved_at = time.monotonic()
        self._changed = False

    def add(self, method: str, model: str, milliseconds: float) -> None:
        """Note that a call took so long."""
        key = _key(method, model)
        mean, count = self._means.pop(key, (milliseconds, 0))
        weight = max(_WEIGHT, 1 / (count + 1))
        self._means[key] = (mean + weight * (milliseconds - mean), count + 1)  # the newest last
        if len(self._means) > _MOST_ENTRIES:
            del self._means[next(iter(self._means))]
        self._changed = True
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self._saved_at = time.monotonic()
            # An SD card may take its time, and this is the event loop.
            threading.Thread(target=self.save, name="durations", daemon=True).start()

    def expect(self, method: str, model: str) -> float | None:
        """Return how long such a call takes; the mean over all models if this one is new, None if the method is."""
        found = self._means.get(_key(method, model))
        if found is not None:
            return found[0]
        others = [mean for key, (mean, _) in self._means.items() if key.startswith(f"{method} ")]
        return sum(others) / len(others) if others else None

    def known(self, method: str, model: str) -> float | None:
        """Return how long such a call takes with this very model; None if that was never seen."""
        found = self._means.get(_key(method, model))
        return None if found is None else found[0]

    def save(self) -> None:
        """Write what was learned; a failure is logged, nothing depends on it."""
        self._saved_at = time.monotonic()
        if self._path is None or not self._changed:
            return
        self._changed = False
        content = {key: [round(mean, 3), count] for key, (mean, count) in list(self._means.items())}
        state_file.write(self._path, "history", content)


def _key(method: str, model: str) -> str:
    return f"{method} {model}"


def _means_in(content: Any) -> dict[str, tuple[float, int]]:
    """Return what makes sense of a file's content; raises whatever a file that is not ours may raise."""
    means = {str(key): (float(mean), int(count)) for key, (mean, count) in content.items()}
    return {key: value for key, value in means.items() if math.isfinite(value[0]) and value[0] >= 0 and value[1] > 0}
