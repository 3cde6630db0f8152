"""Machines: the files that their kernels have, as far as they are read."""

from __future__ import annotations

from pathlib import Path

from rkllmd.machine.platform import Platform

RK3588: dict[str, str] = {
    "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
    "sys/module/rknpu/version": "0.9.8\n",
    "sys/kernel/debug/rknpu/load": "NPU load:  Core0: 25%, Core1: 50%, Core2: 100%,\n",
    "sys/class/devfreq/fdab0000.npu/load": "99@1000000000Hz\n",
    "dev/dri/by-path/platform-fdab0000.npu-render": "",
    "dev/dri/by-path/platform-display-subsystem-card": "",
}
RK3588F = {
    **RK3588,
    "proc/device-tree/compatible": "radxa,rock-5c\0rockchip,rk3588f\0",
    "sys/kernel/debug/rknpu/load": "NPU load:  Core0:  0%, Core1:  0%, Core2:  0%,\n",
}
# Debugfs is root's.
RK3576 = {
    "proc/device-tree/compatible": "friendlyelec,nanopi-m5\0rockchip,rk3576\0",
    "sys/module/rknpu/version": "0.9.8",
    "sys/class/devfreq/27700000.npu/load": "7@950000000Hz\n",
    "dev/dri/by-path/platform-27700000.npu-card": "",
    "dev/dri/by-path/platform-27700000.npu-render": "",
}
# An older kernel: a device of its own, the driver's version in proc only.
RK3566 = {
    "sys/firmware/devicetree/base/compatible": "pine64,quartz64-a\0rockchip,rk3566\0",
    "proc/rknpu/version": "RKNPU driver: v0.8.2\n",
    "sys/kernel/debug/rknpu/load": "NPU load:  0%\n",
    "dev/rknpu": "",
}
PC = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    8192000 kB\n"}


def tree(root: Path, files: dict[str, str]) -> Platform:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Platform(root)


# A container without privileges sees no device tree.
CONTAINER = {
    "sys/class/devfreq/fdab0000.npu/load": "0@1Hz",
    "dev/dri/by-path/platform-fdab0000.npu-render": "",
    "dev/dri/by-path/platform-fb000000.gpu-render": "",
}
