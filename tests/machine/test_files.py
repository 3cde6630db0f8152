"""The vendor's runtime may go on reading its model's file: a run after somebody has written to it is refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.errors import RuntimeFailure
from rkllmd.machine.files import WatchedFile, identify, version
from tests.daemon import Daemon


def test_a_run_on_a_model_whose_file_has_changed(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start()
    model = tmp_path / "model.rkllm"
    model.touch()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})
        os.truncate(model, 10)
        error = wire.ask("rkllm.run", {"prompt": "Hello"})["error"]
        assert error["data"]["kind"] == "RuntimeError"
        assert "was written to after it was loaded (it had 0 bytes and has 10)" in error["message"]
        assert daemon.calls("rkllm_run") == 1
        os.truncate(model, 0)
        assert wire.ask("rkllm.init", {"model_path": str(model), "replace": True})["result"]["success"]
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})


def test_a_file_that_is_replaced_or_removed_disturbs_nobody(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start()
    model, other = tmp_path / "model.rkllm", tmp_path / "other"
    model.touch()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
        other.write_bytes(bytes(10))
        other.replace(model)
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})
        model.unlink()
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"})


def test_an_adapter_is_watched_too(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start()
    adapter = tmp_path / "a.rkllm"
    adapter.write_bytes(bytes(100))
    daemon.load()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.load_lora", {"lora_adapter_path": str(adapter)})["result"]["success"]
        os.utime(adapter, ns=(0, 0))
        assert str(adapter) in wire.ask("rkllm.run", {"prompt": "Hello"})["error"]["message"]


@pytest.mark.parametrize("at", [0, 2**20 - 1, 2**21, 3 * 2**20 - 1])
def test_a_file_of_the_same_size_and_time_with_other_ends_is_another_one(tmp_path: Path, at: int) -> None:
    """Its first and last MiB are looked at: a prompt cache must not go to another model that was put in its place."""
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * 2**20))
    os.utime(path, ns=(0, 0))
    before = identify(str(path))
    assert identify(str(path)) == before
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    os.utime(path, ns=(0, 0))
    assert identify(str(path)) != before


def test_the_same_size_at_another_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    file = WatchedFile(str(path))
    file.check("f")
    os.utime(path, ns=(0, 0))
    with pytest.raises(RuntimeFailure):
        file.check("f")


def test_no_memory_for_the_hash_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("[digital envelope routines] initialization error")

    path = tmp_path / "model"
    path.write_bytes(b"model")
    assert identify(str(path)).size_bytes == 5
    monkeypatch.setattr(hashlib, "sha256", fail)
    with pytest.raises(MemoryError, match="initialization error"):
        identify(str(path))


def test_a_file_that_is_replaced_or_written_to_is_another_version(tmp_path: Path) -> None:
    path, other = tmp_path / "model", tmp_path / "other"
    assert version(str(path)) is None
    for file in (path, other):
        file.write_bytes(b"12345")
        os.utime(file, ns=(5, 5))
    first = version(str(path))
    assert version(str(path)) == first
    other.replace(path)
    replaced = version(str(path))
    assert replaced not in (None, first), "though size and time are the same"
    os.utime(path, ns=(6, 6))
    assert version(str(path)) != replaced
