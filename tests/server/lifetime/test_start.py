"""What the daemon needs to start, and what it does not."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.daemon import Start

# What only the portable runtime, the tokenizer callback and the examples need (pyproject.toml).
OPTIONAL = ["numpy", "onnxruntime", "llama_cpp", "tokenizers", "PIL"]


def test_without_optional_packages_the_other_runtimes_are_served(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL}))\n")
    daemon = start(environ={"PYTHONPATH": str(tmp_path)})
    daemon.load()
    model = daemon.directory / "model.rknn"
    model.touch()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"
        wire.ask("rknn.init", {"model_path": str(model)})
        answer = wire.ask("rknn.infer", {"inputs": base64.b64encode(bytes(48)).decode()})
        assert answer["result"]["outputs"]
