"""Whether a model fits into memory; asked before the runtime loads it, since a load that did not fit has killed others.

Needed is what a load has taken before, or what can be said of a file that was never loaded: its weights, and beside
them its KV cache and the runtime's buffers. Available is what the kernel can give without swapping, in this machine and
in the control groups that the daemon is in, less a reserve for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rkllmd.config.current import CurrentConfig
from rkllmd.errors import OutOfMemory
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine.memory import cgroups
from rkllmd.machine.memory.room import Room, has_room, narrowest, reserve_in
from rkllmd.machine.platform import Platform
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.store.learned import Learned

_MOST_ENTRIES: Final = 1000
# What a load takes at most, in times its file's size and in bytes beside: weights that are held twice, and the KV cache
# of a long context.
_MOST_TIMES: Final = 2
_MOST_BESIDE: Final = 2**30
_MOST_LISTED: Final = 64
# Where less is left, models that take next to nothing still do.
_LEAST_LEFT: Final = 2**26


@dataclass(frozen=True, slots=True)
class Demand:
    """What a load asks for: the bytes of its files, and those that come ``beside`` them.

    ``beside_is_guess``: what a load has taken is believed instead of that. ``remembered_as``: by what the footprints of
    such loads are remembered, "" if they are not. ``advice`` is what a client may do about too much of it.
    """

    path: str
    file_bytes: int
    beside_bytes: int = 0
    beside_is_guess: bool = False
    remembered_as: str = ""
    advice: str = ""


class Footprints:
    """The fewest bytes of memory that a load of each model has taken; kept across restarts."""

    def __init__(self, kept: Learned[str, int] | None = None) -> None:
        """Read what an earlier daemon has learned, if it is ``kept``."""
        self._kept = kept
        self._bytes: dict[str, int] = {} if kept is None else kept.read()

    def learn(self, demand: Demand, taken: int) -> None:
        """Note how much less was available after the load.

        Other processes take memory meanwhile, so more than a model can take is not believed, and the least of all loads
        counts.
        """
        key = demand.remembered_as
        most = _MOST_TIMES * demand.file_bytes + demand.beside_bytes + _MOST_BESIDE
        taken = min(taken, most, self._bytes.get(key, taken))
        if not key or taken <= 0 or self._bytes.get(key) == taken:
            return
        self._bytes.pop(key, None)
        self._bytes[key] = taken
        changed: dict[str, int | None] = {key: taken}
        if len(self._bytes) > _MOST_ENTRIES:
            oldest = next(iter(self._bytes))
            del self._bytes[oldest]
            changed[oldest] = None
        if self._kept is not None:
            self._kept.put(changed)

    def least(self, demand: Demand) -> int:
        """Return how many bytes a load takes for certain."""
        return max(demand.file_bytes, self._bytes.get(demand.remembered_as, 0))

    def needed(self, demand: Demand) -> int:
        """Return how many bytes a load will take."""
        is_known = demand.beside_is_guess and demand.remembered_as in self._bytes
        return max(demand.file_bytes + (0 if is_known else demand.beside_bytes), self.least(demand))


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

    def left_bytes(self) -> int | None:
        """Return how much memory a process may take, a little in any case; None if this machine does not say."""
        reserve = self._current.config.memory_reserve_bytes
        room = narrowest(self._rooms(), reserve)
        return None if room is None else max(_LEAST_LEFT, room.available_bytes - reserve_in(room, reserve))

    @property
    def machine_available_bytes(self) -> int:
        """Return how much the machine has, whatever this process may take of it; 0 if it does not say."""
        return int(self._platform.memory()["available_bytes"])

    def describe(self) -> JsonObject:
        """Return what ``server.status`` says about memory."""
        room = narrowest(cgroups.rooms(self._platform.read), 0)
        group = room and {"limit_bytes": room.total_bytes, "available_bytes": room.available_bytes}
        return {**self._platform.memory(), "cgroup": group}

    def check(self, demand: Demand, given_back: int = 0) -> None:
        """Raise OutOfMemory, with the arithmetic, if the load does not fit.

        ``given_back``: bytes that others will give back before the load.
        """
        needed = self.footprints.needed(demand)
        beside = needed - demand.file_bytes
        sizes = f" ({_mib(demand.file_bytes)} of files, {_mib(beside)} of caches and buffers)" if beside else ""
        self._require(demand.path, needed, sizes, given_back, demand.advice)

    def check_bytes(self, what: str, size: int) -> None:
        """Raise OutOfMemory if a client's ``size`` bytes do not fit: nearly always for large ones only.

        A small one does not wait for the whole reserve, which is for loads.
        """
        self._require(what, size, most_kept_free=size)

    def _require(
        self,
        what: str,
        needed: int,
        sizes: str = "",
        given_back: int = 0,
        advice: str = "",
        most_kept_free: int | None = None,
    ) -> None:
        reserve = self._current.config.memory_reserve_bytes
        room = narrowest(self._rooms(), reserve)
        if room is None:  # this machine does not say
            return
        kept_free = reserve_in(room, reserve)
        if most_kept_free is not None:
            kept_free = min(kept_free, most_kept_free)
        if has_room(needed, room, kept_free, given_back):
            return
        more = f" and {_mib(given_back)} would be given back" if given_back else ""
        available = f"{_mib(room.available_bytes)} are available in {room.where}{more}"
        data: dict[str, Json] = {"given_back_bytes": given_back} if given_back else {}
        raise OutOfMemory(
            f"{what} needs {_mib(needed)}{sizes}; {available}, {_mib(kept_free)} of it reserved "
            f"(memory_reserve_bytes): unload something first{advice}.",
            needed_bytes=needed,
            available_bytes=room.available_bytes,
            reserve_bytes=kept_free,
            limited_by=room.where,
            limit_bytes=room.total_bytes,
            **data,
            loaded=[item for listing in self._loaded for item in listing()][:_MOST_LISTED],
        )

    def _rooms(self) -> list[Room]:
        memory = self._platform.memory()
        machine = Room("this machine", memory["total_bytes"], memory["available_bytes"])
        # 0: this machine does not say.
        return [*([machine] if machine.available_bytes else []), *cgroups.rooms(self._platform.read)]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
