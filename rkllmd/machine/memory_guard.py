"""Whether a model fits into memory; asked before the runtime loads it, since a load that did not fit has killed others.

Needed is the least that a load of the model has taken, or its file's size: weights are most of it, and what comes on
top (KV cache, buffers) is learned with the loads. Available is what the kernel can give without swapping, less a
reserve for everything else on the board.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rkllmd.config.current import CurrentConfig
from rkllmd.config.values import DEFAULT_RESERVE
from rkllmd.errors import OutOfMemory
from rkllmd.machine.platform import Platform

if TYPE_CHECKING:
    from rkllmd.store.learned import Learned

_MOST_ENTRIES = 1000
# What a load takes at most, in times its file's size and in bytes beside: weights that are held twice, and the KV cache
# of a long context.
_MOST_TIMES = 2
_MOST_BESIDE = 2**30
_MOST_LISTED = 64
_LARGEST_RESERVE = 4  # unless it is configured, the reserve is at most this part of all memory


class Footprints:
    """The fewest bytes of memory that a load of each model has taken; kept across restarts."""

    def __init__(self, kept: Learned[str, int] | None = None) -> None:
        """Read what an earlier daemon has learned, if it is ``kept``."""
        self._kept = kept
        self._bytes: dict[str, int] = {} if kept is None else kept.read()

    def learn(self, model: str, size_bytes: int, taken: int) -> None:
        """Note how much less was available after the load of a file of ``size_bytes``.

        Other processes take memory meanwhile, so more than a model can take is not believed, and the least of all loads
        counts.
        """
        taken = min(taken, _MOST_TIMES * size_bytes + _MOST_BESIDE, self._bytes.get(model, taken))
        if taken <= 0 or self._bytes.get(model) == taken:
            return
        self._bytes.pop(model, None)
        self._bytes[model] = taken
        changed: dict[str, int | None] = {model: taken}
        if len(self._bytes) > _MOST_ENTRIES:
            oldest = next(iter(self._bytes))
            del self._bytes[oldest]
            changed[oldest] = None
        if self._kept is not None:
            self._kept.put(changed)

    def needed(self, model: str, size_bytes: int) -> int:
        """Return how many bytes a load will take."""
        return max(size_bytes, self._bytes.get(model, 0))


class MemoryGuard:
    """Says before each load whether it fits."""

    def __init__(
        self,
        current: CurrentConfig,
        platform: Platform,
        footprints: Footprints,
        loaded: Iterable[Callable[[], Sequence[Mapping[str, object]]]] = (),
    ) -> None:
        """Take functions that return what is ``loaded``, for an error's data."""
        self._current = current
        self._platform = platform
        self.footprints = footprints
        self._loaded = tuple(loaded)

    @property
    def available_bytes(self) -> int:
        """Return how much memory the kernel can give without swapping."""
        return int(self._platform.memory()["available_bytes"])

    def check(self, model: str, size_bytes: int, given_back: int = 0) -> None:
        """Raise OutOfMemory, with the arithmetic, if the load does not fit.

        ``given_back``: bytes that others will give back before the load.
        """
        needed = self.footprints.needed(model, size_bytes)
        memory = self._platform.memory()
        available = memory["available_bytes"]
        reserve = self._current.config.memory_reserve_bytes
        if reserve == DEFAULT_RESERVE:  # a gigabyte is most of a small board
            reserve = min(reserve, memory["total_bytes"] // _LARGEST_RESERVE)
        if available and needed + reserve > available + given_back:  # 0: this machine does not say
            more = f" and {_mib(given_back)} would be given back" if given_back else ""
            sizes = f"needs {_mib(needed)}; {_mib(available)} are available{more}, {_mib(reserve)} of it reserved"
            raise OutOfMemory(
                f"{model} {sizes} (memory_reserve_bytes): unload something first.",
                needed_bytes=needed,
                available_bytes=available,
                reserve_bytes=reserve,
                **({"given_back_bytes": given_back} if given_back else {}),
                loaded=[item for listing in self._loaded for item in listing()][:_MOST_LISTED],
            )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
