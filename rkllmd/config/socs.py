"""What is known of each SoC: facts only, for the configuration and for ``machine/board.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Soc:
    """What is known of an SoC; None for what no source says."""

    cpu_mask: int | None
    npu_cores: int | None


# CPU masks: the vendor's SDK manual 1.3.0 (RK3588 and RK3576 have their fast processors at 4 to 7, "others" 0 to 3) and
# go-rknnlite (RK3582, RK3566, RK3568). Cores: the core_mask of the GPL driver 0.9.8.
SOCS: Final[Mapping[str, Soc]] = {
    "rk3588": Soc(cpu_mask=0xF0, npu_cores=3),
    "rk3583": Soc(cpu_mask=None, npu_cores=2),
    "rk3582": Soc(cpu_mask=0x30, npu_cores=None),
    "rk3576": Soc(cpu_mask=0xF0, npu_cores=2),
    "rk3562": Soc(cpu_mask=0x0F, npu_cores=1),
    "rk3566": Soc(cpu_mask=0x0F, npu_cores=1),
    "rk3568": Soc(cpu_mask=0x0F, npu_cores=1),
    "rv1126b": Soc(cpu_mask=0x0F, npu_cores=None),
    "rv1106": Soc(cpu_mask=None, npu_cores=1),
}
