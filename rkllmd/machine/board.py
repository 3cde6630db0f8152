"""The SoC: which one it is, and which of its processors and NPU cores are used where a client does not say.

``machine/platform.py`` reads what the machine says; here is what follows from it. A wrong guess would cost speed or
make a load fail, so only what is known of an SoC is applied, and everything can be set (``soc``,
``enabled_cpus_mask``, ``rknn_core_mask``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import Structure
from rkllmd.abi.layouts.rknn_constants import rknn_core_mask
from rkllmd.config.socs import SOCS, Soc
from rkllmd.errors import InvalidParams, lead
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.config.settings import Config
    from rkllmd.machine.platform import Platform

log = structlog.get_logger()

_AUTO: Final = "auto"
_ALL_CORES: Final = rknn_core_mask.RKNN_NPU_CORE_0_1_2  # masks above it name no cores: all of them, or any
_MASK_BITS: Final = 32  # RKLLMExtendParam.enabled_cpus_mask is a uint32


_UNKNOWN: Final = Soc(cpu_mask=None, npu_cores=None)


@dataclass(frozen=True)
class Board:
    """The machine's SoC and what the configuration says about it; decided once, at the start."""

    name: str | None = None
    source: str | None = None
    # What each source says, including those that are not believed.
    readings: Sequence[tuple[str, str]] = ()
    cpu_mask: int | None = None
    npu_cores: int | None = None
    core_mask: int | None = None
    # Which processors are online at the moment, where that is known.
    online_cpus: Callable[[], Collection[int] | None] = lambda: None

    def apply_defaults(self, given: Mapping[str, Json], param: Structure) -> None:
        """Set the processors of an RKLLMParam if the client's JSON gives neither their mask nor their number."""
        extend = given.get("extend_param") or {}
        if extend.get("enabled_cpus_mask") is not None or extend.get("enabled_cpus_num") is not None:
            return
        mask = usable_cpus(self, self.online_cpus())
        if mask is not None:
            param.extend_param.enabled_cpus_mask = mask
            param.extend_param.enabled_cpus_num = mask.bit_count()

    def check_cores(self, core_mask: int, where: str) -> int:
        """Return the mask of NPU cores. Raises InvalidParams if the SoC does not have them."""
        cores = self.npu_cores
        if not has_cores(cores, core_mask):
            raise InvalidParams(
                f"{lead(where)}the {str(self.name).upper()} has {cores} NPU "
                f"core{'s' if cores != 1 else ''} ({self.source}): the largest mask is {(1 << (cores or 0)) - 1}. "
                "The setting soc overrides what was detected.",
                path=where,
                keyword="maximum",
                limit=(1 << (cores or 0)) - 1,
                npu_cores=cores,
                soc=self.name,
            )
        return core_mask

    def describe(self) -> JsonObject:
        """Return what server.status shows."""
        mask = usable_cpus(self, self.online_cpus())
        return {
            "name": self.name,
            "source": self.source,
            "read": dict(self.readings),
            "npu_cores": self.npu_cores,
            # Null: the runtime's own default.
            "enabled_cpus_mask": mask,
            "enabled_cpus_num": None if mask is None else mask.bit_count(),
            "rknn_core_mask": None if self.core_mask is None else rknn_core_mask(self.core_mask).name,
        }


def decide(config: Config, platform: Platform) -> Board:
    """Return the board: as the configuration says, or as the first source says that knows."""
    readings = platform.soc_readings()
    name, source = next(((found, origin) for origin, found in readings), (None, None))
    if config.soc != _AUTO:
        name, source = config.soc, "the configuration"
    elif len({found for _, found in readings}) > 1:
        log.warning("soc_contradicted", believed=name, source=source, read=dict(readings))
    soc = SOCS.get(name or "", _UNKNOWN)
    cpu_mask = soc.cpu_mask if config.enabled_cpus_mask == _AUTO else int(config.enabled_cpus_mask)
    core_mask = None if config.rknn_core_mask == _AUTO else int(config.rknn_core_mask)
    if core_mask is not None and not has_cores(soc.npu_cores, core_mask):
        # Every load would fail otherwise.
        log.error("rknn_core_mask_not_used", soc=name, npu_cores=soc.npu_cores, rknn_core_mask=core_mask)
        core_mask = None
    return Board(name, source, readings, cpu_mask, soc.npu_cores, core_mask, platform.online_cpus)


def has_cores(npu_cores: int | None, core_mask: int) -> bool:
    """Return whether an NPU with this many cores has those of the mask; true if their number is not known."""
    return npu_cores is None or not 0 < core_mask <= _ALL_CORES or core_mask.bit_length() <= npu_cores


def usable_cpus(board: Board, online: Collection[int] | None) -> int | None:
    """Return the mask of processors for a model; None for the runtime's own default.

    Processors that are offline are left out. The runtime refuses to load a model with fewer processors than NPU cores
    ("The number of enabled CPUs must be greater than or equal to the number of NPU cores"): if there would be fewer,
    others that are online are added.
    """
    if board.cpu_mask is None or online is None:
        return board.cpu_mask
    available = sum(1 << cpu for cpu in set(online) if cpu < _MASK_BITS)
    mask = board.cpu_mask & available
    for cpu in range(_MASK_BITS):
        if mask.bit_count() < (board.npu_cores or 1):
            mask |= available & 1 << cpu
    return mask or None
