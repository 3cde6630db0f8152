"""Where settings come from: a file, the environment, the command line; and what is said of a wrong one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config import sources
from rkllmd.config.settings import Config
from rkllmd.config.sources import load
from tests.config.common import refused, written


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
