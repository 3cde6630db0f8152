"""What the value of a setting may be, and what a wrong one says."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.config.sources import load
from rkllmd.config.values import ConfigError, is_on
from tests.config.common import refused


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("max_queue", "7", 7),
        ("max_queue", " 7 ", 7),
        ("max_queue", 7, 7),
        ("log_level", "0", 0),
        ("request_memory_bytes", "0", 0),
        ("request_memory_bytes", 2**20, 2**20),
        ("rkllm_layout", "1.3", "1.3"),
        ("rkllm_layout", "1.3.1", "1.3.1"),
        ("rkllm_layout", 1.3, "1.3"),  # as TOML reads it without quotes
        ("runtime", "simulator", "simulator"),
        ("socket", "/" + "x" * 106, "/" + "x" * 106),
        ("socket", "/run/\udcff.sock", "/run/\udcff.sock"),  # bytes that are not UTF-8, as os.environ has them
        ("allowed_directories", "/a:/b", ("/a", "/b")),
        ("allowed_directories", ["/a", "/b"], ("/a", "/b")),
        ("allowed_directories", [], ()),
        ("model", "", ""),
    ],
)
def test_values(name: str, given: Any, value: Any) -> None:
    assert getattr(load({}, {name: given}), name) == value


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("max_queue", "0", "a whole number from 1 to 100000"),
        ("max_queue", 100_001, "a whole number from 1 to 100000"),
        ("max_queue", "-1", "a whole number from 1 to 100000"),
        ("max_queue", "--1", "a whole number from 1 to 100000"),
        ("max_queue", "-", "a whole number from 1 to 100000"),
        ("max_queue", "1.0", "a whole number from 1 to 100000"),
        ("max_queue", "٣", "a whole number from 1 to 100000"),
        ("max_queue", "9" * 5000, "a whole number from 1 to 100000"),
        ("max_queue", True, "a whole number from 1 to 100000"),
        ("max_queue", [1], "a whole number from 1 to 100000"),
        ("request_memory_bytes", 1, "0 or a whole number from 1048576 to 1099511627776"),
        ("request_memory_bytes", False, "0 or a whole number from 1048576 to 1099511627776"),
        ("max_queue", "many", "a whole number from 1 to 100000"),
        ("log_level", 4, "a whole number from 0 to 3"),
        ("runtime", "cuda", "one of auto, vendor, portable, simulator"),
        ("runtime", ["auto"], "one of auto, vendor, portable, simulator"),
        ("socket", "relative.sock", "an absolute path of at most 107 bytes"),
        ("socket", "/" + "x" * 107, "an absolute path of at most 107 bytes"),
        ("socket", "/" + "ä" * 54, "an absolute path of at most 107 bytes"),
        ("socket", "", "an absolute path of at most 107 bytes"),
        ("socket", "/a\0b", "a string without NUL characters"),
        ("socket", 5, "a string without NUL characters"),
        ("rkllm_library", 5, "a string without NUL characters"),
        ("rkllm_library", "/a\0b", "a string without NUL characters"),
        ("soc", "rk3399", "one of auto, rk3588, "),
        ("enabled_cpus_mask", "0", "auto, or a mask of processors"),
        ("enabled_cpus_mask", "0x100000000", "auto, or a mask of processors"),
        ("enabled_cpus_mask", "4294967296", "auto, or a mask of processors"),
        ("enabled_cpus_mask", "-1", "auto, or a mask of processors"),
        ("enabled_cpus_mask", True, "auto, or a mask of processors"),
        ("rknn_core_mask", "5", "auto, or a mask of NPU cores"),
        ("rknn_core_mask", "RKNN_NPU_CORE_UNDEFINED", "auto, or a mask of NPU cores"),
        ("rknn_core_mask", 65536, "auto, or a mask of NPU cores"),
        ("allowed_directories", "/a::/b", "absolute directories"),
        ("allowed_directories", "a", "absolute directories"),
        ("allowed_directories", ["/a", 5], "absolute directories"),
        ("allowed_directories", ["/a\0"], "absolute directories"),
        ("allowed_directories", {"/a": 1}, "absolute directories"),
        ("allowed_directories", 5, "absolute directories"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(name: str, given: Any, allowed: str) -> None:
    message = refused(flags={name: given})
    assert message.startswith(f"option --{name.replace('_', '-')}: {name} is ")
    assert f", allowed is {allowed}" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("given", "mask"),
    [("0xF0", 0xF0), ("0xf0", 0xF0), (240, 240), ("240", 240), ("AUTO", "auto"), ("0xFFFFFFFF", 2**32 - 1)],
)
def test_a_mask_of_processors_may_be_written_in_two_ways(given: object, mask: object) -> None:
    assert load({}, {"enabled_cpus_mask": given}).enabled_cpus_mask == mask


@pytest.mark.parametrize(
    ("given", "mask"),
    [("auto", "auto"), (0, 0), ("3", 3), ("RKNN_NPU_CORE_0_1", 3), ("RKNN_NPU_CORE_ALL", 65535), (7, 7)],
)
def test_a_mask_of_npu_cores_may_be_a_name(given: object, mask: object) -> None:
    assert load({}, {"rknn_core_mask": given}).rknn_core_mask == mask


def test_limits_add_to_the_defaults(tmp_path: Any) -> None:
    """In a file with or without quotes around the name; elsewhere as pairs."""
    file = tmp_path / "rkllmd.toml"
    for text in ('[timeouts_ms]\n"rknn.run" = 5\ndefault = 6\n', "timeouts_ms.rknn.run = 5\ntimeouts_ms.default = 6\n"):
        file.write_text(text)
        config = load({}, {}, file)
        assert (config.timeouts_ms["rknn.run"], config.timeouts_ms["default"]) == (5, 6)
        assert config.timeouts_ms["rkllm.init"] == 900_000
    assert load({"RKLLM_TIMEOUTS_MS": "rknn.run=5:default=6"}, {}, file).timeouts_ms == config.timeouts_ms


@pytest.mark.parametrize("value", ["rknn.run", "rknn.run=x", "rknn.run=-1", 5, {"rknn.run": True}, {"rknn.run": 2**40}])
def test_what_is_no_table_of_limits_is_an_error(value: Any) -> None:
    with pytest.raises(ConfigError, match="timeouts_ms"):
        load({}, {"timeouts_ms": value})


def test_a_method_without_its_limit_is_told_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match="method=milliseconds, separated by ':'"):
        load({}, {"timeouts_ms": "rknn.run"})


@pytest.mark.parametrize(("setting", "on"), [("auto", {True}), ("always", {True, False}), ("never", set())])
def test_what_is_left_to_the_daemon_is_on_where_it_is_so_automatically(setting: str, on: set[bool]) -> None:
    assert {automatically for automatically in (True, False) if is_on(setting, automatically=automatically)} == on
