"""``rkllmd serve``: wrong settings, files and sockets, each said in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import rkllmd
from tests.cli.commands import COMMAND, run, sentence
from tests.daemon import Daemon

WRONG = [
    ("max_models", "9", "a whole number from 1 to 8"),
    ("max_models", "two", "a whole number from 1 to 8"),
    ("runtime", "gpu", "one of auto, vendor, portable, simulator"),
    ("rkllm_layout", "1.4", "one of auto, 1.2, 1.3, 1.3.1"),
    ("socket", "rkllm.sock", "an absolute path of at most 107 bytes"),
    ("socket", "/" + 107 * "s", "an absolute path of at most 107 bytes"),
    ("log_level", "4", "a whole number from 0 to 3"),
    ("allowed_directories", "models", "absolute directories"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
@pytest.mark.parametrize("source", ["file", "environment", "flag"])
def test_a_wrong_setting_is_named_with_its_source_value_and_what_is_allowed(
    tmp_path: Path, source: str, key: str, value: str, allowed: str
) -> None:
    from rkllmd.config.settings import environment_name

    file = tmp_path / "rkllmd.toml"
    file.write_text(f"{key} = {json.dumps(value)}\n" if source == "file" else "")
    variables = {environment_name(key): value} if source == "environment" else {}
    flags = [f"--{key.replace('_', '-')}", value] if source == "flag" else []
    told = sentence(run("serve", "--config", str(file), *flags, environ=variables))
    origin = {
        "file": str(file),
        "environment": f"environment variable {environment_name(key)}",
        "flag": f"option --{key.replace('_', '-')}",
    }
    assert told.startswith(f"{origin[source]}: {key} is {value!r}, allowed is {allowed}"), told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"sokcet = '/tmp/x'", "there is no setting 'sokcet'"),
        (b"socket = ", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        (b"max_models = true", "max_models is 'True', allowed is a whole number from 1 to 8"),
        (b"[server]\nsocket = '/tmp/x'", "there is no setting 'server'"),
    ],
)
def test_a_wrong_file(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_bytes(content)
    line = sentence(run("serve", "--config", str(file)))
    assert line.startswith(str(file))
    assert told in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert sentence(run("serve", "--config", str(missing))) == f"{missing} can't be read: No such file or directory."
    assert sentence(run("serve", "--config", str(tmp_path))) == f"{tmp_path} can't be read: Is a directory."


def test_a_flag_overrides_the_environment_and_that_the_file(tmp_path: Path, start: Callable[..., Daemon]) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("max_queue = 7\nmax_models = 2\nmax_calls_per_connection = 5\n")
    daemon = start("--config", str(file), "--max-queue", "9", environ={"RKLLM_MAX_QUEUE": "8", "RKLLM_MAX_MODELS": "3"})
    with daemon.connect() as wire:
        assert wire.ask("server.queue")["result"]["limit"] == 9
        for _ in range(3):
            assert "result" in wire.ask("rkllm.init", {"model_path": str(daemon.model)})
        error = wire.ask("rkllm.init", {"model_path": str(daemon.model), "top_k": 7})["error"]
        assert error["data"]["kind"] == "ModelAlreadyLoaded"


def test_a_socket_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "rkllm.sock"
    told = sentence(run("serve", "--socket", str(path), "--runtime", "portable"))
    assert str(path) in told or str(path.parent) in told


def test_a_second_daemon_on_the_same_socket_leaves_the_first_alone(daemon: Daemon) -> None:
    told = sentence(run("serve", "--socket", daemon.path, "--runtime", "portable"))
    assert daemon.path in told
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"


def test_a_model_on_the_command_line_is_meant_from_where_the_command_is_given(
    start: Callable[..., Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.rkllm").touch()
    daemon = start("--model", "mine.rkllm")
    daemon.wait_event("model_loaded")
    assert daemon.events("model_loaded")[0]["model_path"] == str(tmp_path / "mine.rkllm")


def test_a_runtime_that_cannot_be_used_is_explained_in_the_first_line(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, library=tmp_path / "nowhere.so")
    line = daemon.wait_ready()
    daemon.stop()
    assert "which can't be used: There is no librkllmrt.so in" in line
    assert "--rkllm-library" in line


def test_a_relative_path_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd $1; rmdir $1; shift; exec "$@"'
    command = ["sh", "-c", script, "sh", str(gone), *COMMAND, "serve", "--model", "mine.rkllm"]
    environ = {**os.environ, "PYTHONPATH": str(Path(rkllmd.__file__).parent.parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert sentence(done) == "the current folder has been removed: name mine.rkllm by its whole path."
