"""What the daemon needs to start, and what it does not."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

from tests.daemon import Start
from tests.server.jobs.submitting import ended, submit

# What only the portable runtime, the tokenizer callback and the examples need (pyproject.toml).
OPTIONAL = ["numpy", "onnxruntime", "llama_cpp", "tokenizers", "PIL"]
# What takes time to import and serves nobody.
NEEDLESS = {"numpy", "rkllmd.client.plain", "rkllmd.client.trio_client", "rkllmd.cli.chat"}
IMPORTS = "import sys, rkllmd.cli.command, rkllmd.daemon; print(*sys.modules)"


def test_what_it_does_not_need_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=300, check=True)
    imported = set(done.stdout.split())
    assert {"rkllmd.daemon", "trio"} <= imported
    assert not imported & NEEDLESS


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


def test_a_job_that_waited_for_a_models_load_is_done_after_a_kill(start: Start, tmp_path: Path) -> None:
    """Nothing is remembered of the model, since it was not loaded yet: the next daemon loads it first."""
    model = tmp_path / "model.rkllm"
    model.touch()
    arguments = ("--state-directory", str(tmp_path), "--model", str(model))
    first = start(*arguments, scenario="hold.rkllm_init=1;text=done")
    first.wait_for("the load", lambda: any("rkllm_init" in line for line in first.trace()))
    with first.connect() as wire:
        job = submit(wire, "rkllm.run", {"prompt": "Hello"})
    first.process.kill()
    first.wait_end()
    second = start(*arguments, scenario="text=done")
    with second.connect() as wire:
        found = ended(wire, job)
    assert (found["status"], found.get("error")) == ("completed", None)
    assert found["result"]["text"] == "done"
