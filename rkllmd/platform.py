"""The machine: which SoC, which NPU driver, how loaded. Each is read from several sources; none is required.

Sources and formats: the GPL driver 0.9.8 and public reports. Nothing here calls C or needs root.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_SOC = re.compile(r"rockchip,(rk\d{4}|rv\d{4}b?)")
_CORE_LOAD = re.compile(r"Core(\d+):\s*(\d+)%")
_SINGLE_LOAD = re.compile(r"NPU load:\s*(\d+)%")
_DEVFREQ_LOAD = re.compile(r"(\d+)@")


class Platform:
    """Reads the machine's files below ``root`` (the tests' own tree, or /)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def soc(self) -> str | None:
        """Return the SoC, such as "rk3588", or None where it is not known (or no Rockchip).

        The device tree's list holds the board first and the SoC last, with variants such as rk3588f or rk3588s.
        """
        compatible = self._read("proc/device-tree/compatible") or self._read("sys/firmware/devicetree/base/compatible")
        found = [match.group(1) for entry in (compatible or "").split("\0") if (match := _SOC.match(entry))]
        return found[-1] if found else None

    def npu_devices(self) -> list[str]:
        """Return what shows that an NPU is here: device nodes and the driver's traces; empty if there is none."""
        found = [path for path in ("dev/rknpu", "sys/module/rknpu") if (self.root / path).exists()]
        for folder, pattern in (("dev/dri/by-path", "*npu*"), ("sys/class/devfreq", "*.npu")):
            found += [str(path.relative_to(self.root)) for path in sorted((self.root / folder).glob(pattern))]
        return ["/" + path for path in found]

    def driver_version(self) -> str | None:
        """Return the NPU driver's version, such as "0.9.8"."""
        version = self._read("sys/module/rknpu/version")
        if version is None:
            text = self._read("sys/kernel/debug/rknpu/version") or self._read("proc/rknpu/version") or ""
            match = re.search(r"v?(\d+\.\d+\.\d+)", text)
            version = match.group(1) if match else None
        return (version or "").strip() or None

    def npu_load(self) -> list[int] | None:
        """Return the load of each NPU core in percent, or None where it can't be read (debugfs is root's)."""
        text = self._read("sys/kernel/debug/rknpu/load")
        if text is not None:
            cores = [int(load) for _, load in _CORE_LOAD.findall(text)]
            # 0.9.8 clamps at 100; older drivers were seen to report 20000 %.
            loads = cores or [int(load) for load in _SINGLE_LOAD.findall(text)]
            return [min(load, 100) for load in loads] or None
        for path in sorted((self.root / "sys/class/devfreq").glob("*.npu")):
            match = _DEVFREQ_LOAD.match(self._read(str(path.relative_to(self.root) / "load")) or "")
            if match:
                return [min(int(match.group(1)), 100)]
        return None

    def memory(self) -> dict[str, Any]:
        """Return total and available memory of the machine and the resident size of this process, in bytes."""
        sizes = dict(re.findall(r"(\w+):\s+(\d+) kB", self._read("proc/meminfo") or ""))
        resident = re.search(r"VmRSS:\s+(\d+) kB", self._read("proc/self/status") or "")
        return {
            "total_bytes": int(sizes.get("MemTotal", 0)) * 1024,
            "available_bytes": int(sizes.get("MemAvailable", 0)) * 1024,
            "daemon_resident_bytes": int(resident.group(1)) * 1024 if resident else 0,
        }

    def _read(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text("utf-8", "replace")
        except OSError:
            return None


def machine() -> str:
    """Return the processor architecture, such as "aarch64"."""
    return os.uname().machine
