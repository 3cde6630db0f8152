"""The package that pip installs, and what type checkers find in it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.install.machine import CHECKOUT


def test_a_build_takes_nothing_from_an_earlier_one_and_leaves_nothing(tmp_path: Path) -> None:
    """A module that was removed is a method that is gone, and the checkout may be another user's."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "build")
    for name in ("rkllmd", "rknn", ".make"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=ignored)
    ghost = copy / "build/lib/rkllmd/rkllm/ghost.py"
    ghost.parent.mkdir(parents=True)
    ghost.touch()
    before = sorted(copy.rglob("*"))
    code = "import build_backend, sys; print(build_backend.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / ".make"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(copy.rglob("*")) == before
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "rkllmd/rkllm/run.py" in names
    assert "rkllmd/portable/demo/demo.gguf" in names
    assert {f"rkllmd/gateway/page/{name}" for name in ("page.html", "look.css", "main.js")} <= {*names}
    assert not any("ghost" in name for name in names)


def test_type_checkers_find_the_client_from_anywhere(tmp_path: Path) -> None:
    """They follow paths, not the import hooks that an editable installation may consist of."""
    code = "import importlib.machinery as m; print(m.PathFinder.find_spec('rkllmd').origin)"
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, "rkllmd is installed as an import hook: make -B .venv/.run"
    assert Path(done.stdout.strip()).with_name("py.typed").exists()


# Each mistake is on a line with what mypy says of it; on all the others it has nothing to say.
SCRIPT = """\
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from rkllmd.client import Client, Json, JsonObject, Params, RequestMembers, Tensor, TrioClient, open_client

class Prompt(TypedDict):
    prompt: str

def words(result: Json) -> list[str]:
    first: JsonObject = result["outputs"][0]
    return [str(best["class"]) for best in first["top"]]

def given(client: Client, image: npt.NDArray[np.uint8], params: Mapping[str, object], prompt: Prompt) -> None:
    names: dict[str, str] = {"a": "b"}
    mixed = {"prompt": "Hello", "role": Path("user"), "rkllm_infer_params": {"keep_history": 1}}
    both: Params
    for both in (params, prompt, names, mixed, [1, "x"], (image, 2), None):
        client.call("x", both)
    result = client.call("rknn.infer", {"inputs": [image, image[0, 0], b"bytes", Path("a")]}, reply_fds=True)
    seen: memoryview = result["outputs"][0]["data"]
    for data in (image, b"bytes", bytearray(), seen):
        client.call("rknn.infer", {"inputs": Tensor(data, "uint8", image.shape)})
    Tensor(array("f", [1.0]), "float32", (1,))
    Tensor("text", "uint8", [1])  # arg-type

def members(client: Client) -> None:
    kitchen: RequestMembers = {"session": "kitchen", "priority": "low"}
    client.send("x", **kitchen)
    client.send("x", timeout_ms=None)
    for partial in client.stream("x", timeout=1.5, **kitchen):
        print(partial["text"])
    client.call("x", tiemout_ms=5)  # call-arg
    client.call("x", priority="urgent")  # arg-type
    client.call("x", "text")  # arg-type
    client.call("x", {1: 2})  # dict-item

async def waited(client: TrioClient) -> None:
    print((await client.call("x", {"a": 1}, session="kitchen"))["text"].upper())
    async for partial in client.stream("x", reply_fds=True):
        print(partial["text"])
    await client.call("x", reply_fd=True)  # call-arg

async def connected() -> None:
    async with open_client() as client:
        await waited(client)
"""


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy comes with make lint, not with make test")
def test_mypy_strict_checks_a_script_outside_the_checkout(tmp_path: Path) -> None:
    """Results are used without a cast, tensors without a wrapper; mistakes in the arguments are found."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    mistakes = [(number, line.partition("  # ")[2]) for number, line in enumerate(SCRIPT.splitlines(), 1)]
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    found = re.findall(r"script\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    expected = [(str(number), mistake) for number, mistake in mistakes if mistake]
    assert found == expected, done.stdout + done.stderr
