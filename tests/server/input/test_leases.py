"""A client that holds a lease of its file is told so, and nobody waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.lease import held

SENTENCE = "is held by a process that has a lease of it"


@pytest.fixture(scope="module")
def daemon(start_for_module: Start) -> Daemon:
    daemon = start_for_module()
    daemon.load()
    return daemon


@pytest.mark.parametrize(
    ("method", "name", "params"),
    [
        ("rkllm.init", "model_path", {"replace": True}),
        ("rkllm.init", "embedding_path", {"model_path": "/dev/null", "replace": True}),
        ("rkllm.load_lora", "lora_adapter_path", {}),
        ("rkllm.load_prompt_cache", "prompt_cache_path", {}),
        ("rknn.init", "model_path", {}),
    ],
)
def test_a_file_that_is_held_is_refused_at_once(daemon: Daemon, method: str, name: str, params: dict[str, Any]) -> None:
    path = daemon.directory / f"{method}.{name}"
    path.write_bytes(b"x" * 100)
    with daemon.connect() as wire, held(path):
        if name == "embedding_path":
            model = daemon.directory / "beside.rkllm"
            model.write_bytes(b"x")
            params = {**params, "model_path": str(model)}
        error = wire.ask(method, {**params, name: str(path)})["error"]
        assert error["data"]["kind"] == "InvalidParams"
        assert SENTENCE in error["message"]
        assert "result" in wire.ask("rkllm.run", {"prompt": "Hello"}), "nothing has happened to the loaded model"


def test_a_model_of_the_portable_runtime_too(start: Start) -> None:
    daemon = start("--model", "demo", runtime="portable")
    path = daemon.directory / "held.gguf"
    path.write_bytes(b"GGUF")
    with daemon.connect() as wire, held(path):
        error = wire.ask("rkllm.init", {"model_path": str(path), "replace": True})["error"]
        assert SENTENCE in error["message"]
