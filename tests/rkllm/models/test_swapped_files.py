"""A file that is swapped between its check and C, where not everything may be read: what C has read is given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rkllm.board import Board

pytestmark = pytest.mark.parametrize("version", ["1.3.0"])


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    (folder / "mine").mkdir(parents=True)
    (folder / "model.rkllm").touch()
    (folder / "mine" / "file").touch()
    return folder


@pytest.fixture
def board(version: str, new_board: Callable[..., Board], allowed: Path) -> Board:
    return new_board(version, "--allowed-directories", str(allowed))


def swapped(board: Board, allowed: Path, function: str, method: str, params: Any) -> dict[str, Any]:
    """Call the method; put a link in place of the file's directory while C is in the function; return the error."""
    secret = allowed.with_name("secret")
    secret.mkdir()
    (secret / "file").touch()  # C takes an empty file for a model, an adapter and a prompt cache
    board.script(**{f"hold__{function}": 1})
    board.wire.request(method, params, call_id=7)
    board.daemon.wait_enter(function)
    (allowed / "mine").rename(allowed / "aside")
    (allowed / "mine").symlink_to(secret)
    board.daemon.let_go()
    error = board.wire.final(7)["error"]
    assert error["data"]["kind"] == "PermissionDenied"
    assert "was changed while it was loaded" in error["message"]
    board.script()
    return dict(error)


def test_a_model(board: Board, allowed: Path) -> None:
    swapped(board, allowed, "rkllm_init", "rkllm.init", {"model_path": str(allowed / "mine" / "file")})
    assert board.calls()[-1] == "rkllm_destroy"
    assert board.result("server.status")["models"] == []


def test_an_adapter(board: Board, allowed: Path) -> None:
    board.result("rkllm.init", {"model_path": str(allowed / "model.rkllm")})
    given = {"lora_adapter_path": str(allowed / "mine" / "file"), "lora_adapter_name": "a"}
    swapped(board, allowed, "rkllm_load_lora", "rkllm.load_lora", given)
    error = board.error("rkllm.run", {"prompt": "Hi", "lora_params": {"lora_adapter_name": "a"}})
    assert "lora adapter a is not loaded" in error["message"], "the model was loaded again without it"
    assert board.say() == "[user] Hi"


def test_a_prompt_cache(board: Board, allowed: Path) -> None:
    board.result("rkllm.init", {"model_path": str(allowed / "model.rkllm")})
    given = {"prompt_cache_path": str(allowed / "mine" / "file")}
    swapped(board, allowed, "rkllm_load_prompt_cache", "rkllm.load_prompt_cache", given)
    assert board.calls()[-1] == "rkllm_release_prompt_cache"
