"""The machine's files as the boards have them, as they should not be, and not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rkllmd.machine.platform import Platform, machine
from tests.machine.machines import CONTAINER, PC, RK3566, RK3576, RK3588, RK3588F, tree


def told(platform: Platform) -> dict[str, Any]:
    return {
        "soc": platform.soc(),
        "driver": platform.driver_version(),
        "load": platform.npu_load(),
        "devices": platform.npu_devices(),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            RK3588,
            {
                "soc": "rk3588",
                "driver": "0.9.8",
                "load": [25, 50, 100],
                "devices": [
                    "/sys/module/rknpu",
                    "/dev/dri/by-path/platform-fdab0000.npu-render",
                    "/sys/class/devfreq/fdab0000.npu",
                ],
            },
        ),
        (
            RK3588F,
            {
                "soc": "rk3588",
                "driver": "0.9.8",
                "load": [0, 0, 0],
                "devices": [
                    "/sys/module/rknpu",
                    "/dev/dri/by-path/platform-fdab0000.npu-render",
                    "/sys/class/devfreq/fdab0000.npu",
                ],
            },
        ),
        (
            RK3576,
            {
                "soc": "rk3576",
                "driver": "0.9.8",
                "load": [7],
                "devices": [
                    "/sys/module/rknpu",
                    "/dev/dri/by-path/platform-27700000.npu-card",
                    "/dev/dri/by-path/platform-27700000.npu-render",
                    "/sys/class/devfreq/27700000.npu",
                ],
            },
        ),
        (RK3566, {"soc": "rk3566", "driver": "0.8.2", "load": [0], "devices": ["/dev/rknpu"]}),
        (PC, {"soc": None, "driver": None, "load": None, "devices": []}),
        ({}, {"soc": None, "driver": None, "load": None, "devices": []}),
    ],
    ids=["rk3588", "rk3588f", "rk3576", "rk3566", "pc", "empty"],
)
def test_board(tmp_path: Path, files: dict[str, str], expected: dict[str, Any]) -> None:
    assert told(tree(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("compatible", "soc"),
    [
        ("rockchip,rk3588-evb1\0rockchip,rk3588\0", "rk3588"),
        ("rockchip,rk3588-toybrick\0rockchip,rk3588s\0", "rk3588"),
        ("vendor,board\0rockchip,rv1126b\0", "rv1126b"),
        ("vendor,board\0rockchip,rk3582\0rockchip,rk3588s\0", "rk3582"),
        ("rockchip,rk3588-evb\0vendor,board\0", "rk3588"),
        ("vendor,board\0rockchip,rv1106g-evb\0rockchip,rv1106\0", "rv1106"),
        ("vendor,rk3588\0raspberrypi,5\0brcm,bcm2712\0", None),
        ("", None),
        ("\0\0", None),
        ("rockchip,unknown\0", None),
    ],
)
def test_soc(tmp_path: Path, compatible: str, soc: str | None) -> None:
    assert tree(tmp_path, {"proc/device-tree/compatible": compatible}).soc() == soc


@pytest.mark.parametrize(
    ("files", "readings"),
    [
        (
            {**RK3588F, "sys/firmware/devicetree/base/compatible": "rockchip,rk3588f\0"},
            [
                ("/proc/device-tree/compatible", "rk3588"),
                ("/sys/firmware/devicetree/base/compatible", "rk3588"),
                ("/sys/class/devfreq/fdab0000.npu", "rk3588"),
                ("/dev/dri/by-path/platform-fdab0000.npu-render", "rk3588"),
            ],
        ),
        (
            CONTAINER,
            [
                ("/sys/class/devfreq/fdab0000.npu", "rk3588"),
                ("/dev/dri/by-path/platform-fdab0000.npu-render", "rk3588"),
            ],
        ),
        (
            {"sys/class/devfreq/12345678.npu/device/of_node/compatible": "rockchip,rk3562-rknpu\0"},
            [("/sys/class/devfreq/12345678.npu/device/of_node/compatible", "rk3562")],
        ),
        ({"sys/class/devfreq/27700000.npu/load": ""}, [("/sys/class/devfreq/27700000.npu", "rk3576")]),
        ({"sys/class/devfreq/ff300000.npu/load": ""}, [("/sys/class/devfreq/ff300000.npu", "rk3562")]),
        ({"sys/class/devfreq/22000000.npu/load": ""}, [("/sys/class/devfreq/22000000.npu", "rv1126b")]),
        ({"proc/cpuinfo": "processor\t: 0\n\nHardware\t: Rockchip RK3588S\n"}, [("/proc/cpuinfo", "rk3588")]),
        ({"proc/cpuinfo": "model name\t: ARMv8 (v8l)\nSerial\t: rk3588\n"}, []),
        ({"sys/class/devfreq/dmc/load": "", "sys/class/devfreq/npu.npu/load": ""}, []),
        (PC, []),
    ],
)
def test_what_each_source_says_of_the_soc(
    tmp_path: Path, files: dict[str, str], readings: list[tuple[str, str]]
) -> None:
    platform = tree(tmp_path, files)
    assert platform.soc_readings() == readings
    assert platform.soc() == (readings[0][1] if readings else None)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-7\n", set(range(8))),
        ("0", {0}),
        ("0-1,4,6-7\n", {0, 1, 4, 6, 7}),
        ("", None),
        ("\n", None),
        ("all", None),
        ("0-", None),
        ("0,", None),
        ("0-99999999999", None),
    ],
)
def test_processors_that_are_online(tmp_path: Path, text: str, cpus: set[int] | None) -> None:
    assert tree(tmp_path, {"sys/devices/system/cpu/online": text}).online_cpus() == cpus


def test_processors_that_nobody_lists(tmp_path: Path) -> None:
    assert Platform(tmp_path).online_cpus() is None


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("NPU load:  Core0: 20000%, Core1:  5%, Core2:  0%,", [100, 5, 0]),  # seen on an old driver
        ("NPU load:  20000%", [100]),
        ("NPU load:  Core0: 25%,", [25]),
        ("NPU load:  7%\n", [7]),
        ("nonsense", None),
        ("", None),
    ],
)
def test_load(tmp_path: Path, text: str, load: list[int] | None) -> None:
    assert tree(tmp_path, {"sys/kernel/debug/rknpu/load": text}).npu_load() == load


@pytest.mark.parametrize(("text", "load"), [("200@1000000000Hz", [100]), ("0@0Hz", [0]), ("busy", None), ("", None)])
def test_load_without_root(tmp_path: Path, text: str, load: list[int] | None) -> None:
    assert tree(tmp_path, {"sys/class/devfreq/fdab0000.npu/load": text}).npu_load() == load


def test_what_c_does_on_its_threads_is_a_sign_of_life(tmp_path: Path) -> None:
    ours = threading.get_native_id()
    busy = {
        f"proc/self/task/{task}/stat": f"{task} (np u) S {'0 ' * 10}{ticks} 1 0" for task, ticks in ((7, 99), (9, 0))
    }
    platform = tree(tmp_path, {**busy, f"proc/self/task/{ours}/stat": f"{ours} (x) S {'0 ' * 10}5000 0 0"})
    assert platform.signs_of_life() == 101 / os.sysconf("SC_CLK_TCK"), "this thread is Python's"
    assert tree(tmp_path / "without", {"proc/self/status": ""}).signs_of_life() is None
    working = {"sys/class/devfreq/fdab0000.npu/load": "1@1000000000Hz"}
    assert tree(tmp_path / "npu", {**busy, **working}).signs_of_life() is None


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"sys/module/rknpu/version": "0.9.8\n", "proc/rknpu/version": "RKNPU driver: v0.1.2"}, "0.9.8"),
        ({"sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.6\n"}, "0.9.6"),
        ({"proc/rknpu/version": "RKNPU driver: v0.9.3"}, "0.9.3"),
        ({"proc/rknpu/version": "nonsense"}, None),
        ({"sys/module/rknpu/version": "\n"}, None),
    ],
)
def test_driver_version(tmp_path: Path, files: dict[str, str], version: str | None) -> None:
    assert tree(tmp_path, files).driver_version() == version


def test_memory(tmp_path: Path) -> None:
    files = {**PC, "proc/self/status": "Name:\trkllmd\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"}
    assert tree(tmp_path, files).memory() == {
        "total_bytes": 16_384_000 * 1024,
        "available_bytes": 8_192_000 * 1024,
        "daemon_resident_bytes": 2048 * 1024,
    }


def test_memory_that_is_not_known(tmp_path: Path) -> None:
    assert Platform(tmp_path).memory() == {"total_bytes": 0, "available_bytes": 0, "daemon_resident_bytes": 0}


def test_a_file_that_is_no_utf8_is_read_nevertheless(tmp_path: Path) -> None:
    path = tmp_path / "proc/device-tree/compatible"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"vendor,\xff\0rockchip,rk3562\0")
    assert Platform(tmp_path).soc() == "rk3562"


def test_this_machine() -> None:
    memory = Platform().memory()
    assert 0 < memory["daemon_resident_bytes"] < memory["total_bytes"]
    assert 0 < memory["available_bytes"] <= memory["total_bytes"]
    assert machine() == os.uname().machine


@pytest.mark.parametrize(("text", "frequency"), [("1000000000\n", 1_000_000_000), ("\n", None), ("unknown\n", None)])
def test_the_clock_of_the_npu(tmp_path: Path, text: str, frequency: int | None) -> None:
    assert tree(tmp_path, {"sys/class/devfreq/fdab0000.npu/cur_freq": text}).npu_frequency() == frequency


def test_a_machine_without_an_npu_has_no_clock_of_one(tmp_path: Path) -> None:
    assert tree(tmp_path, PC).npu_frequency() is None


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ({"0/type": "soc-thermal\n", "0/temp": "41538\n", "6/type": "npu-thermal\n", "6/temp": "62846\n"}, 62.846),
        ({"0/type": "soc-thermal\n", "0/temp": "-5000\n", "1/type": "gpu-thermal\n", "1/temp": "43888\n"}, -5.0),
        ({"0/type": "npu-thermal\n", "0/temp": "unknown\n"}, None),
        ({"0/type": "acpitz\n", "0/temp": "27800\n"}, None),
    ],
)
def test_how_hot_the_npu_is(tmp_path: Path, zones: dict[str, str], celsius: float | None) -> None:
    files = {f"sys/class/thermal/thermal_zone{name}": text for name, text in zones.items()}
    assert tree(tmp_path, files).npu_temperature() == celsius
