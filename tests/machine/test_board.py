"""Which SoC it is, and what follows from it for processors and NPU cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config.settings import Config
from rkllmd.config.socs import SOCS
from rkllmd.machine import board as soc
from rkllmd.machine.board import Board
from rkllmd.machine.platform import Platform
from tests.daemon import Daemon
from tests.machine.machines import CONTAINER, PC, RK3566, RK3576, RK3588, RK3588F, tree
from tests.rkllm.reporter import build_reporter, reported

ONLINE = Platform().online_cpus() or set()


def decide(root: Path, files: dict[str, str], **settings: Any) -> Board:
    return soc.decide(Config(**settings), tree(root, files))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (RK3588, ("rk3588", "/proc/device-tree/compatible", 0xF0, 3)),
        (RK3588F, ("rk3588", "/proc/device-tree/compatible", 0xF0, 3)),
        (RK3576, ("rk3576", "/proc/device-tree/compatible", 0xF0, 2)),
        (RK3566, ("rk3566", "/sys/firmware/devicetree/base/compatible", 0x0F, 1)),
        (CONTAINER, ("rk3588", "/sys/class/devfreq/fdab0000.npu", 0xF0, 3)),
        (
            {"proc/device-tree/compatible": "a,b\0rockchip,rk3582\0"},
            ("rk3582", "/proc/device-tree/compatible", 0x30, None),
        ),
        (
            {"proc/device-tree/compatible": "a,b\0rockchip,rk3399\0"},
            ("rk3399", "/proc/device-tree/compatible", None, None),
        ),
        (PC, (None, None, None, None)),
        ({}, (None, None, None, None)),
    ],
    ids=["rk3588", "rk3588f", "rk3576", "rk3566", "container", "rk3582", "one that is not in the table", "pc", "empty"],
)
def test_the_board_is_what_the_first_source_says(
    tmp_path: Path, files: dict[str, str], expected: tuple[Any, ...]
) -> None:
    board = decide(tmp_path, files)
    assert (board.name, board.source, board.cpu_mask, board.npu_cores) == expected
    assert board.core_mask is None


def test_the_configuration_overrides_every_source(tmp_path: Path) -> None:
    board = decide(tmp_path, RK3588, soc="rk3562")
    assert (board.name, board.source, board.cpu_mask, board.npu_cores) == ("rk3562", "the configuration", 0x0F, 1)
    assert dict(board.readings)["/proc/device-tree/compatible"] == "rk3588", "what was read is still told"
    board = decide(tmp_path, RK3588, enabled_cpus_mask=0xC0, rknn_core_mask=3)
    assert (board.name, board.cpu_mask, board.core_mask) == ("rk3588", 0xC0, 3)
    board = decide(tmp_path / "pc", PC, enabled_cpus_mask=0x3, rknn_core_mask=1)
    assert (board.name, board.cpu_mask, board.core_mask) == (None, 0x3, 1)


def test_sources_that_contradict_each_other_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = decide(tmp_path, {**RK3588, "proc/cpuinfo": "Hardware : Rockchip RK3576\n"})
    assert board.name == "rk3588"
    assert "soc_contradicted" in capsys.readouterr().out


def test_a_configured_core_mask_that_the_soc_has_not_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decide(tmp_path, RK3576, rknn_core_mask=7).core_mask is None
    assert "rknn_core_mask_not_used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cores", "mask", "has"),
    [
        (3, 7, True),
        (3, 4, True),
        (2, 3, True),
        (2, 4, False),
        (2, 7, False),
        (1, 1, True),
        (1, 2, False),
        (1, 3, False),
        (1, 0, True),  # auto
        (1, 65535, True),  # all there are
        (1, 65536, True),  # the runtime's to refuse
        (None, 7, True),
    ],
)
def test_cores_that_there_are(cores: int | None, mask: int, has: bool) -> None:
    assert soc.has_cores(cores, mask) is has


@pytest.mark.parametrize(
    ("cpu_mask", "npu_cores", "online", "expected"),
    [
        (0xF0, 3, range(8), 0xF0),
        (0xF0, 3, [0, 1, 2, 3, 4, 5], 0x31),  # filled up: three cores need three
        (0x30, None, range(6), 0x30),
        (0xF0, 3, [0, 1], 0x03),
        (0xF0, None, [0, 1], 0x01),
        (0x0F, 1, [1, 5], 0x02),
        (0xF0, 3, [], None),
        (0xF0, 3, [40], None),
        (0xF0, 3, None, 0xF0),
        (None, 3, range(8), None),
    ],
)
def test_processors_that_are_offline_are_left_out(
    cpu_mask: int | None, npu_cores: int | None, online: Any, expected: int | None
) -> None:
    assert soc.usable_cpus(Board(cpu_mask=cpu_mask, npu_cores=npu_cores), online) == expected


def test_every_mask_of_the_table_is_enough_for_its_cores() -> None:
    for name, item in SOCS.items():
        assert item.cpu_mask is None or item.cpu_mask.bit_count() >= (item.npu_cores or 1), name


# -- in the daemon ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sent(tmp_path: Path, start: Callable[..., Daemon]) -> Callable[..., tuple[str, str]]:
    """Return what rkllm_init gets as mask and number of processors: ``sent("--soc", "rk3562", extend_param={})``."""

    def ask(*arguments: str, version: str = "1.3.0", **param: Any) -> tuple[str, str]:
        daemon = start(*arguments, library=build_reporter(tmp_path, version))
        with daemon.connect() as wire:
            got = reported(wire.ask("rkllm.init", {"model_path": str(daemon.model), **param})["error"])
        return got["extend_param.enabled_cpus_mask"], got["extend_param.enabled_cpus_num"]

    return ask


def restricted(mask: int, cores: int) -> tuple[str, str]:
    usable = soc.usable_cpus(Board(cpu_mask=mask, npu_cores=cores), ONLINE)
    assert usable
    return str(usable), str(usable.bit_count())


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0", "1.3.1"])
def test_a_model_gets_the_processors_of_the_soc(sent: Callable[..., tuple[str, str]], version: str) -> None:
    assert sent("--soc", "rk3562", version=version) == restricted(0x0F, 1)
    assert sent("--soc", "rk3588", version=version, extend_param={"n_batch": 1}) == restricted(0xF0, 3)


def test_what_the_client_or_the_configuration_says_counts_more(sent: Callable[..., tuple[str, str]]) -> None:
    assert sent("--soc", "rk3562", extend_param={"enabled_cpus_mask": 0xC0, "enabled_cpus_num": 2}) == ("192", "2")
    assert sent("--soc", "rk3562", extend_param={"enabled_cpus_num": 1})[1] == "1"
    assert sent("--soc", "rk3562", "--enabled-cpus-mask", "0x1") == ("1", "1")


def test_without_a_known_soc_the_runtimes_defaults_stay(sent: Callable[..., tuple[str, str]]) -> None:
    # The reporter's own. This machine is no Rockchip board, and RK3583's processors nobody has told.
    assert sent("--soc", "rk3583") == ("48", "2")
    if Platform().soc() is None:
        assert sent() == ("48", "2")


def test_cores_that_the_soc_has_not_are_refused_before_c(start: Callable[..., Daemon]) -> None:
    daemon = start("--soc", "rk3576", "--rknn-core-mask", "RKNN_NPU_CORE_1")
    model = daemon.directory / "image.rknn"
    model.write_text("")
    with daemon.connect() as wire:
        for mask in (4, 7, "RKNN_NPU_CORE_2", "RKNN_NPU_CORE_0_1_2"):
            error = wire.ask("rknn.init", {"model_path": str(model), "core_mask": mask})["error"]
            data = error["data"]
            assert (error["code"], data["path"], data["keyword"]) == (-32602, "$.core_mask", "maximum")
            assert (data["npu_cores"], data["limit"], data["soc"]) == (2, 3, "rk3576")
            assert "the RK3576 has 2 NPU cores (the configuration): the largest mask is 3" in error["message"]
        assert daemon.calls("rknn_init") == 0
        context = wire.ask("rknn.init", {"model_path": str(model)})["result"]["context"]
        assert daemon.calls("rknn_set_core_mask") == 1, "the configured one"
        assert "error" in wire.ask("rknn.set_core_mask", {"context": context, "core_mask": 7})
        assert daemon.calls("rknn_set_core_mask") == 1
        wire.ask("rknn.init", {"model_path": str(model), "core_mask": 3})
        assert daemon.calls("rknn_set_core_mask") == 2
        told = wire.ask("server.status")["result"]
    assert told["versions"]["soc"] == "rk3576"
    found = told["soc"]
    assert (found["name"], found["source"], found["npu_cores"]) == ("rk3576", "the configuration", 2)
    assert found["rknn_core_mask"] == "RKNN_NPU_CORE_1"
    expected = restricted(0xF0, 2)
    assert (str(found["enabled_cpus_mask"]), str(found["enabled_cpus_num"])) == expected


def test_a_core_mask_that_nobody_asks_for_is_not_set(start: Callable[..., Daemon]) -> None:
    daemon = start("--soc", "rk3588")
    with daemon.connect() as wire:
        assert "result" in wire.ask("rknn.init", {"model_path": str(daemon.model)})
    assert daemon.calls("rknn_set_core_mask") == 0
