"""What the daemon counts about itself, as families in the sense of OpenMetrics (``server.metrics`` shows them).

A family is a name with a type, a unit and one value for each set of labels. Names and units follow OpenMetrics, so that
they can be rendered as they are: a name ends with its unit, and that of a counter has no ``_total``, which the
rendering adds. Without I/O. Everything here is called on the event loop, where each count costs a look into a
dictionary.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from rkllmd.json_types import Json, JsonObject

# A client chooses which files are loaded: this many of their names are told apart, which is more than a board has.
MOST_NAMES: Final = 32
# What all other names count as, and methods that do not exist.
OTHER: Final = "other"
# The names of labels.
_CALL: Final = ("method", "outcome")
_MODEL: Final = ("model",)
# From what an instant call takes to an hour behind others.
_WAITS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# A thousand tokens of prompt take a board 8 to 15 s.
_FIRST_TOKENS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 120.0)
# A board makes 2 to 50 tokens a second, a computer some hundreds.
_SPEEDS: Final = (1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 250.0, 1000.0)
# From a file in the page cache to some gigabytes from an SD card.
_LOADS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


def family(name: str, kind: str, unit: str, text: str, samples: Iterable[tuple[JsonObject, Json]]) -> JsonObject:
    """Return a family as ``server.metrics`` shows it; each sample is its labels and its value."""
    shown: list[Json] = [{"labels": labels, "value": value} for labels, value in samples]
    return {"name": name, "type": kind, "unit": unit, "help": text, "samples": shown}


class Counter:
    """A family of numbers that only grow, one for each set of labels."""

    __slots__ = ("_about", "_labels", "_values")

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, unit: str = "") -> None:
        """``text`` is for people; ``labels`` are the names of the labels."""
        self._about = (name, "counter", unit, text)
        self._labels = labels
        self._values: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def add(self, *labels: str, by: int = 1) -> None:
        """Count ``by`` more for these values of the labels."""
        self._values[labels] += by

    def describe(self) -> JsonObject:
        """Return the family."""
        return family(*self._about, ((_named(self._labels, values), n) for values, n in sorted(self._values.items())))


class Histogram:
    """A family of distributions: how many observations were at most so large, their number and their sum."""

    __slots__ = ("_about", "_bounds", "_labels", "_values")

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = (), *, unit: str = ""
    ) -> None:
        """``bounds`` are the upper ends of the buckets, in order; beyond the last one there is no bucket."""
        self._about = (name, "histogram", unit, text)
        self._bounds = bounds
        self._labels = labels
        # The number of observations in each bucket, those beyond the last one, and the sum of all.
        self._values: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Note an observation for these values of the labels."""
        found = self._values.get(labels)
        if found is None:
            found = self._values[labels] = ([0] * (len(self._bounds) + 1), [0.0])
        found[0][bisect_left(self._bounds, value)] += 1
        found[1][0] += value

    def describe(self) -> JsonObject:
        """Return the family; its buckets are cumulative."""
        found = sorted(self._values.items())
        return family(*self._about, ((_named(self._labels, key), self._shown(*value)) for key, value in found))

    def _shown(self, counts: list[int], total: list[float]) -> JsonObject:
        *below, count = accumulate(counts)
        buckets: list[Json] = [{"le": bound, "count": n} for bound, n in zip(self._bounds, below, strict=True)]
        return {"count": count, "sum": total[0], "buckets": buckets}


class Names:
    """Names that clients choose, as values of a label: this many are told apart, all that come later are ``OTHER``."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int = MOST_NAMES) -> None:
        """Begin with none."""
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return the value of the label for ``name``."""
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name


class Metrics:
    """All families that are counted while things happen. One exists per process."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.calls = Counter(
            "rkllmd_calls", "Calls that were answered, by method and by ok or the kind of the error.", _CALL
        )
        self.waits = Histogram(
            "rkllmd_queue_wait_seconds",
            "How long calls waited for the NPU that had their turn.",
            _WAITS,
            unit="seconds",
        )
        self.generated_tokens = Counter("rkllmd_generated_tokens", "Tokens that models made.", _MODEL, unit="tokens")
        self.prompt_tokens = Counter(
            "rkllmd_prompt_tokens",
            "Tokens of prompts that models read, where the runtime says it.",
            _MODEL,
            unit="tokens",
        )
        self.cached_tokens = Counter(
            "rkllmd_cached_prompt_tokens",
            "Tokens of conversations that models did not have to read again, where that is known.",
            _MODEL,
            unit="tokens",
        )
        self.first_tokens = Histogram(
            "rkllmd_time_to_first_token_seconds",
            "From the beginning of a run, after its wait, to its first token.",
            _FIRST_TOKENS,
            _MODEL,
            unit="seconds",
        )
        self.speeds = Histogram(
            "rkllmd_generation_tokens_per_second",
            "Speed of runs after their first token.",
            _SPEEDS,
            _MODEL,
            unit="tokens_per_second",
        )
        self.loads = Histogram(
            "rkllmd_model_load_seconds",
            "Loads of language models that succeeded, also those of models that had been unloaded meanwhile.",
            _LOADS,
            _MODEL,
            unit="seconds",
        )
        self._file_names = Names()

    def model(self, name: str | None, path: str) -> str:
        """Return the label of a model: its ``name`` in the configuration, else that of its file."""
        return name or self._file_names.of(path.rpartition("/")[2])

    def describe(self) -> list[JsonObject]:
        """Return all families."""
        return [
            item.describe()
            for item in (
                self.calls,
                self.waits,
                self.generated_tokens,
                self.prompt_tokens,
                self.cached_tokens,
                self.first_tokens,
                self.speeds,
                self.loads,
            )
        ]


def _named(names: Sequence[str], values: Sequence[str]) -> JsonObject:
    return dict(zip(names, values, strict=True))
