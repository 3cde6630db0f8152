"""Files that change under what is loaded from them: the daemon lives on, and no answer is silently another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.portable.gguf_files import DEMO, LORA

QUESTION = {"prompt": "What is an NPU?"}
ANSWER = "An NPU is a neural processing unit"


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    path.unlink()


CHANGES = pytest.mark.parametrize("change", [cut_short, overwrite, remove])


@CHANGES
def test_a_loaded_language_model(start: Callable[..., Daemon], tmp_path: Path, change: Callable[[Path], None]) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(DEMO.read_bytes())
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
        change(model)
        assert wire.ask("rkllm.run", QUESTION)["result"]["text"].startswith(ANSWER)


@CHANGES
def test_a_loaded_adapter(start: Callable[..., Daemon], tmp_path: Path, change: Callable[[Path], None]) -> None:
    adapter = tmp_path / "pirate.gguf"
    adapter.write_bytes(LORA.read_bytes())
    asked = {**QUESTION, "lora_params": {"lora_adapter_name": "pirate"}}
    daemon = start("--model", "demo", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.load_lora", {"lora_adapter_path": str(adapter)})["result"]["success"]
        before = wire.ask("rkllm.run", asked)["result"]["text"]
        change(adapter)
        assert wire.ask("rkllm.run", asked)["result"]["text"] == before
