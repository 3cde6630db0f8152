"""Settings: where they come from, what they may be, and what a wrong one says."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config import sources
from rkllmd.config.settings import Config, environment_name
from rkllmd.config.sources import load
from rkllmd.config.values import ConfigError


def written(directory: Path, text: str) -> Path:
    path = directory / "rkllmd.toml"
    path.write_text(text)
    return path


def refused(
    environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None, file: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ or {}, flags or {}, file)
    return str(caught.value)


@pytest.fixture(autouse=True)
def no_file_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "DEFAULT_FILE", tmp_path / "absent.toml")


def test_defaults() -> None:
    assert load({}, {}) == Config()


def test_every_default_is_a_value_that_may_be_set() -> None:
    for item in fields(Config):
        default = getattr(Config(), item.name)
        assert item.metadata["parse"](default) == default, item.name
        assert item.metadata["help"], item.name


def test_every_setting_has_its_own_environment_variable() -> None:
    names = [environment_name(item.name) for item in fields(Config)]
    assert len(set(names)) == len(names)
    assert environment_name("socket") == "RKLLM_UDS_PATH"
    assert environment_name("rkllm_library") == "RKLLM_LIB_PATH"
    assert environment_name("max_queue") == "RKLLM_MAX_QUEUE"


def test_file_then_environment_then_flags(tmp_path: Path) -> None:
    file = written(tmp_path, "max_queue = 1\nmax_models = 2\nlog_level = 1\nsocket = '/run/file.sock'\n")
    settings = load({"RKLLM_MAX_QUEUE": "3", "RKLLM_MAX_MODELS": "4", "HOME": "/"}, {"max_models": "5"}, file)
    assert (settings.socket, settings.log_level) == ("/run/file.sock", 1)
    assert settings.max_queue == 3
    assert settings.max_models == 5
    assert settings.runtime == "auto"


def test_flags_that_were_not_given_and_empty_variables_change_nothing() -> None:
    assert load({"RKLLM_MAX_QUEUE": "", "RKLLM_UDS_PATH": ""}, {"max_queue": None}) == Config()


def test_the_machines_file_is_read_if_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "DEFAULT_FILE", written(tmp_path, "max_queue = 7"))
    assert load({}, {}).max_queue == 7
    (tmp_path / "other.toml").write_text("log_level = 0")
    assert load({}, {}, tmp_path / "other.toml") == replace(Config(), log_level=0), "the named file stands instead"


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("max_queue", "7", 7),
        ("max_queue", " 7 ", 7),
        ("max_queue", 7, 7),
        ("log_level", "0", 0),
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


def test_a_wrong_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, "log_level = 9")
    assert refused(file=file) == f"{file}: log_level is '9', allowed is a whole number from 0 to 3."
    assert refused({"RKLLM_LOG_LEVEL": "9"}).startswith("environment variable RKLLM_LOG_LEVEL: log_level is '9'")
    assert refused(flags={"log_level": "9"}).startswith("option --log-level: log_level is '9'")


def test_an_unknown_setting_comes_with_the_nearest_one_or_with_all_that_there_are(tmp_path: Path) -> None:
    file = written(tmp_path, "max_queues = 9")
    assert refused(file=file) == f"{file}: there is no setting 'max_queues'; did you mean max_queue?"
    file = written(tmp_path, "xyzzy = 9")
    assert refused(file=file).startswith(f"{file}: there is no setting 'xyzzy'; known are socket, ")


def test_a_model_that_is_declared_in_the_wrong_table(tmp_path: Path) -> None:
    file = written(tmp_path, "[model.qwen]\nmodel_path = '/m'")
    assert refused(file=file) == (f"{file}: model is one path; a table that declares a model is [models.NAME].")


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = written(tmp_path, "max_queue = = 1")
    assert refused(file=file).startswith(f"{file} is not valid TOML: ")
    file.write_bytes(b"model = '\xff'")
    assert refused(file=file).startswith(f"{file} is not valid TOML: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_queue = " + "[" * 5000, "nested too deep"),
        (f"[timeouts_ms.{'.'.join('a' * 3000)}]\nb = 1", "nested too deep"),
        ("max_queue = " + "9" * 5000, "is not valid TOML"),
        ("max_queue = 0x" + "f" * 5000, "is not valid TOML"),
        ('priority_users = ["a\\u0000b"]', "uids or names of users, and 'a\\x00b' is none"),
    ],
    ids=["arrays", "tables", "decimal", "hexadecimal", "NUL"],
)
def test_whatever_a_file_holds_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    message = refused(file=file)
    assert message.startswith(str(file))
    assert said in message
    assert len(message) < 500


def test_a_table_that_is_nested_too_deep_is_refused() -> None:
    table: dict[str, Any] = {}
    for _ in range(5000):
        table = {"a": table}
    assert refused(flags={"timeouts_ms": table}) == "option --timeouts-ms: timeouts_ms is nested too deep."


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused(file=tmp_path / "no.toml") == f"{tmp_path / 'no.toml'} can't be read: No such file or directory."
    assert refused(file=tmp_path) == f"{tmp_path} can't be read: Is a directory."


def test_what_a_reload_takes_over() -> None:
    running = Config(max_queue=1, socket="/a", log_level=0)
    fresh = Config(max_queue=2, socket="/b", log_level=3, model="/m")
    reloaded = running.reloaded(fresh)
    assert (reloaded.max_queue, reloaded.log_level) == (2, 3)
    assert (reloaded.socket, reloaded.model) == ("/a", "")


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
