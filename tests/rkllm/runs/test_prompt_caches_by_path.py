"""A prompt cache that a client names by a path: nothing that the client puts there leads the daemon elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.daemon import Daemon
from tests.rkllm.board import Board


def saving(path: Path) -> dict[str, Any]:
    return {"prompt": "Hi", "prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": str(path)}}


@pytest.mark.parametrize("version", ["1.3.0"])
@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_link_that_comes_during_the_run_is_not_written_through(
    version: str, what: str, new_board: Callable[..., Board], tmp_path: Path
) -> None:
    caches, victim = tmp_path / "caches", tmp_path / "elsewhere" / "a"
    (caches / "mine").mkdir(parents=True)
    victim.parent.mkdir()
    victim.write_bytes(b"secret")
    victim.chmod(0o600)
    board = new_board(version, "--writable-directories", str(caches), "--state-directory", "", "--cache-directory", "")
    board.load()
    board.script(prefill_hold=1)
    board.wire.request("rkllm.run", saving(caches / "mine" / "a"), call_id=7)
    board.daemon.wait_enter("rkllm_run")
    if what == "directory":
        (caches / "mine").rmdir()
        (caches / "mine").symlink_to(victim.parent)
    else:
        (caches / "mine" / "a").symlink_to(victim)
    board.daemon.let_go()
    said = board.wire.final(7)["result"]["prompt_cache"]
    assert (said["path"], said["saved"]) == (str(caches / "mine" / "a"), False)
    assert "can't be written" in said["reason"]
    assert victim.read_bytes() == b"secret"
    assert list(victim.parent.iterdir()) == [victim]


@pytest.mark.parametrize("version", ["1.3.0"])
def test_a_quota_that_is_used_up_refuses_the_run(version: str, new_board: Callable[..., Board], tmp_path: Path) -> None:
    board = new_board(
        version,
        "--writable-directories",
        str(tmp_path),
        "--saved-cache-bytes-per-user",
        "100000",
        "--state-directory",
        "",
    )
    board.load()
    cache = tmp_path / "a"
    for _ in range(2):  # the second replaces the first
        assert board.result("rkllm.run", saving(cache))["prompt_cache"]["saved"] is True
    runs = board.calls().count("rkllm_run")
    error = board.refused("rkllm.run", saving(tmp_path / "b"))
    assert (error["kind"], error["setting"]) == ("PermissionDenied", "saved_cache_bytes_per_user")
    assert board.calls().count("rkllm_run") == runs, "nothing was run"
    cache.unlink()
    assert board.result("rkllm.run", saving(tmp_path / "b"))["prompt_cache"]["saved"] is True


@pytest.mark.parametrize("version", ["1.3.0"])
def test_somebody_elses_file_is_not_replaced(version: str, new_board: Callable[..., Board], tmp_path: Path) -> None:
    """The private file of another user; where the tests are not root, it is one of the client's user, and replaced."""
    if os.getuid() != 0:
        pytest.skip("only root can make a file that is somebody else's")
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"secret")
    os.chown(theirs, 4711, 4711)
    board = new_board(version, "--writable-directories", str(tmp_path))
    board.load()
    error = board.refused("rkllm.run", saving(theirs))
    assert (error["kind"], error["path"]) == ("PermissionDenied", "$.prompt_cache_params.prompt_cache_path")
    assert theirs.read_bytes() == b"secret"


def test_a_link_with_a_name_that_can_be_guessed_is_not_written_through(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    victim, cache = tmp_path / "victim", tmp_path / "caches" / "a"
    cache.parent.mkdir()
    victim.write_bytes(b"secret")
    daemon = start("--writable-directories", str(cache.parent), runtime="portable")
    (cache.parent / f"a.{daemon.process.pid}.tmp").symlink_to(victim)
    with daemon.connect() as wire:
        wire.ask("rkllm.init", {"model_path": str(DEMO_MODEL), "max_new_tokens": 2})
        result = wire.ask("rkllm.run", saving(cache))["result"]
        assert result["prompt_cache"] == {"path": str(cache), "saved": True}
        assert wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": str(cache)})["result"]
    assert victim.read_bytes() == b"secret"
    assert {path.name for path in cache.parent.iterdir()} == {"a", f"a.{daemon.process.pid}.tmp"}
