"""How long calls have taken, so that a wait can be estimated before it is over (``npu/times/estimates.py``).

There is one running mean for each method and model, kept across restarts in the daemon's store. It follows the last few
calls, since a model may be converted anew, a prompt may grow, a board may be clocked down.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rkllmd.store.learned import Learned, Mean

# The weight of the newest call once there are enough: the last ten make up nine tenths of the mean.
_WEIGHT: Final = 0.2
_MOST_ENTRIES: Final = 1000
# A write for each call would wear out an SD card; what is lost by a crash is learned again.
_SAVE_SECONDS: Final = 60.0


class Durations:
    """Mean durations in milliseconds by method and model, and how many calls each rests on."""

    def __init__(self, kept: Learned[str, Mean] | None = None) -> None:
        """Read what an earlier daemon has learned, if it is ``kept``."""
        self._kept = kept
        self._means: dict[str, Mean] = {} if kept is None else kept.read()
        self._saved_at = time.monotonic()
        # The keys of the means that are not saved yet, the newest last.
        self._changed: dict[str, None] = {}

    def add(self, method: str, model: str, milliseconds: float) -> None:
        """Note that a call took this long."""
        key = _key(method, model)
        mean, count = self._means.pop(key, (milliseconds, 0))
        weight = max(_WEIGHT, 1 / (count + 1))
        self._means[key] = (mean + weight * (milliseconds - mean), count + 1)  # the newest last
        self._note_change(key)
        if len(self._means) > _MOST_ENTRIES:
            oldest = next(iter(self._means))
            del self._means[oldest]
            self._note_change(oldest)
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save()

    def expect(self, method: str, model: str) -> float | None:
        """Return how long such a call takes: for a new model the mean over all models, for a new method None."""
        found = self._means.get(_key(method, model))
        if found is not None:
            return found[0]
        others = [mean for key, (mean, _) in self._means.items() if key.startswith(f"{method} ")]
        return sum(others) / len(others) if others else None

    def known(self, method: str, model: str) -> float | None:
        """Return how long such a call takes with this model; None if that was never seen."""
        found = self._means.get(_key(method, model))
        return None if found is None else found[0]

    def save(self) -> None:
        """Write what was learned, without waiting for it."""
        self._saved_at = time.monotonic()
        changed, self._changed = self._changed, {}
        if self._kept is not None:
            self._kept.put({key: self._means.get(key) for key in changed})

    def _note_change(self, key: str) -> None:
        if self._kept is not None:
            self._changed.pop(key, None)
            self._changed[key] = None


def _key(method: str, model: str) -> str:
    return f"{method} {model}"
