"""The machine: which SoC, which NPU driver, how loaded. Each is read from several sources; none is required.

Sources and formats: the GPL driver 0.9.8 and public reports. Nothing here calls C or needs root.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

_SOC = re.compile(r"rockchip,(rk\d{4}|rv\d{4}b?)")
# "Hardware : Rockchip RK3588S"; most kernels do not have this line.
_CPUINFO_SOC = re.compile(r"^(?:Hardware|Model|model name)\s*:.*\b(rk\d{4}|rv\d{4}b?)", re.IGNORECASE | re.MULTILINE)
# "Features : fp asimd evtstrm aes ... asimddp": what an Arm processor can.
_CPUINFO_FEATURES = re.compile(r"^Features\s*:(.*)$", re.MULTILINE)
# Unprivileged containers do not see the device tree, but they see the addresses of its devices.
_NPU_ADDRESSES = {"fdab0000": "rk3588", "27700000": "rk3576", "ff300000": "rk3562", "22000000": "rv1126b"}
_NPU_ADDRESS = re.compile(r"([0-9a-f]{8})\.npu")
# "0-3,6": the kernel's lists have at most four digits in a number.
_CPU_LIST = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")
_CORE_LOAD = re.compile(r"Core(\d+):\s*(\d+)%")
_SINGLE_LOAD = re.compile(r"NPU load:\s*(\d+)%")
_DEVFREQ_LOAD = re.compile(r"(\d+)@")
# The thermal zones that tell how hot the NPU is, the best first: RK3588 and RK3576 have the first, RK356x the second.
_HEAT = ("npu-thermal", "soc-thermal")
# More than any of the files has; the kernel makes some of them anew for each read.
_READ_BYTES = 65_536


class Platform:
    """Reads the machine's files below ``root`` (a tree of the tests, or /)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self._prefix = f"{str(root).rstrip('/')}/"

    def soc(self) -> str | None:
        """Return the SoC, such as "rk3588", or None if it is not known (or is no Rockchip)."""
        return next((name for _, name in self.soc_readings()), None)

    def soc_readings(self) -> list[tuple[str, str]]:
        """Return what each source says, as its path and the SoC, the most exact one first.

        The device tree's list names the board first and the SoC last, with variants such as rk3588f or rk3588s. If
        there are two SoCs, the first is the machine's, and the second is one that is compatible with it.
        """
        readings = []
        trees = ["proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"]
        npus = sorted((self.root / "sys/class/devfreq").glob("*.npu"))
        # The node of the NPU itself: "rockchip,rk3588-rknpu".
        trees += [f"{path.relative_to(self.root)}/device/of_node/compatible" for path in npus]
        for tree in trees:
            found = _soc_in((self.read(tree) or "").split("\0"))
            readings += [(f"/{tree}", found)] if found else []
        match = _CPUINFO_SOC.search(self.read("proc/cpuinfo") or "")
        readings += [("/proc/cpuinfo", match.group(1).lower())] if match else []
        for path in [*npus, *sorted((self.root / "dev/dri/by-path").glob("*.npu-*"))]:
            address = _NPU_ADDRESS.search(path.name)
            name = _NPU_ADDRESSES.get(address.group(1)) if address else None
            readings += [(f"/{path.relative_to(self.root)}", name)] if name else []
        return readings

    def has_sve(self) -> bool | None:
        """Return whether the processors have Arm's SVE instructions; None if that is not known (or they are no Arm)."""
        match = _CPUINFO_FEATURES.search(self.read("proc/cpuinfo") or "")
        return None if match is None else "sve" in match.group(1).split()

    def online_cpus(self) -> set[int] | None:
        """Return the numbers of the processors that are online, or None if that is not known."""
        text = (self.read("sys/devices/system/cpu/online") or "").strip()
        if not _CPU_LIST.fullmatch(text):
            return None
        spans = [part.split("-") for part in text.split(",")]
        return {cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)}

    def npu_devices(self) -> list[str]:
        """Return what shows that there is an NPU: device nodes and the driver's traces; empty if there is none."""
        found = [path for path in ("dev/rknpu", "sys/module/rknpu") if (self.root / path).exists()]
        for folder, pattern in (("dev/dri/by-path", "*npu*"), ("sys/class/devfreq", "*.npu")):
            found += [str(path.relative_to(self.root)) for path in sorted((self.root / folder).glob(pattern))]
        return ["/" + path for path in found]

    def driver_version(self) -> str | None:
        """Return the NPU driver's version, such as "0.9.8"."""
        version = self.read("sys/module/rknpu/version")
        if version is None:
            text = self.read("sys/kernel/debug/rknpu/version") or self.read("proc/rknpu/version") or ""
            match = re.search(r"v?(\d+\.\d+\.\d+)", text)
            version = match.group(1) if match else None
        return (version or "").strip() or None

    def npu_load(self) -> list[int] | None:
        """Return the load of each NPU core in percent, or None if it can't be read (only root may read debugfs)."""
        text = self.read("sys/kernel/debug/rknpu/load")
        if text is not None:
            cores = [int(load) for _, load in _CORE_LOAD.findall(text)]
            # 0.9.8 clamps at 100; older drivers were seen to report 20000 %.
            loads = cores or [int(load) for load in _SINGLE_LOAD.findall(text)]
            return [min(load, 100) for load in loads] or None
        for path in sorted((self.root / "sys/class/devfreq").glob("*.npu")):
            match = _DEVFREQ_LOAD.match(self.read(str(path.relative_to(self.root) / "load")) or "")
            if match:
                return [min(int(match.group(1)), 100)]
        return None

    def signs_of_life(self) -> float | None:
        """Return how many seconds of CPU time C has used in this process; None while the NPU works, or if unknown.

        C runs on the worker thread ("npu") and on threads that it has made itself; Python calls those "Dummy-…".
        """
        if any(self.npu_load() or ()):
            return None
        ours = {thread.native_id for thread in threading.enumerate() if not thread.name.startswith(("npu", "Dummy-"))}
        seconds = 0.0
        try:
            for task in os.listdir(f"{self._prefix}proc/self/task"):
                if int(task) not in ours:
                    fields = (self.read(f"proc/self/task/{task}/stat") or "").rpartition(")")[2].split()
                    # proc_pid_stat(5): utime and stime, of which the third field is the first here.
                    seconds += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            return None
        return seconds

    def npu_frequency(self) -> int | None:
        """Return the clock of the NPU in hertz, which all cores share, or None if it can't be read."""
        for path in sorted((self.root / "sys/class/devfreq").glob("*.npu")):
            text = (self.read(str(path.relative_to(self.root) / "cur_freq")) or "").strip()
            if text.isdecimal():
                return int(text)
        return None

    def npu_temperature(self) -> float | None:
        """Return how hot the NPU is in °C, where that is not measured the SoC, or None if neither can be read."""
        found: dict[str, float] = {}
        for zone in sorted((self.root / "sys/class/thermal").glob("thermal_zone*")):
            folder = zone.relative_to(self.root)
            text = (self.read(f"{folder}/temp") or "").strip()  # in thousandths
            if text.removeprefix("-").isdecimal():
                found.setdefault((self.read(f"{folder}/type") or "").strip(), int(text) / 1000)
        return next((found[name] for name in _HEAT if name in found), None)

    def memory(self) -> dict[str, int]:
        """Return total and available memory of the machine and the resident size of this process, in bytes."""
        machine, process = self.read("proc/meminfo") or "", self.read("proc/self/status") or ""
        return {
            "total_bytes": _size(machine, "MemTotal"),
            "available_bytes": _size(machine, "MemAvailable"),
            "daemon_resident_bytes": _size(process, "VmRSS"),
        }

    def read(self, path: str) -> str | None:
        """Return the text of a file, by its path below the root; None if it can't be read."""
        # Not by pathlib, nor as a text file: server.status reads seven files, and everybody waits for it meanwhile.
        try:
            fd = os.open(f"{self._prefix}{path}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            parts = []
            while part := os.read(fd, _READ_BYTES):
                parts.append(part)
        except OSError:
            return None
        finally:
            os.close(fd)
        return b"".join(parts).decode("utf-8", "replace")


def _size(text: str, name: str) -> int:
    """Return the bytes that a line such as "MemTotal:  8123456 kB" says, 0 if there is none."""
    at = text.find(f"{name}:")
    return 0 if at < 0 else int(text[at + len(name) + 1 :].split(None, 1)[0]) * 1024


def _soc_in(entries: list[str]) -> str | None:
    """Return the SoC of a device tree's list of names."""
    found = [(entry, match.group(1)) for entry in entries if (match := _SOC.match(entry))]
    exact = [name for entry, name in found if "-" not in entry]
    return exact[0] if exact else next((name for _, name in reversed(found)), None)


def machine() -> str:
    """Return the processor architecture, such as "aarch64"."""
    return os.uname().machine
