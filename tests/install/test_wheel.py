"""The package that pip installs, and what type checkers find in it."""

from __future__ import annotations

import importlib.util
import os
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
    assert not any("ghost" in name for name in names)


def test_type_checkers_find_the_client_from_anywhere(tmp_path: Path) -> None:
    """They follow paths, not the import hooks that an editable installation may consist of."""
    code = "import importlib.machinery as m; print(m.PathFinder.find_spec('rkllmd').origin)"
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, "rkllmd is installed as an import hook: make -B .venv/.run"
    assert Path(done.stdout.strip()).with_name("py.typed").exists()


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy comes with make lint, not with make test")
def test_mypy_strict_checks_a_script_outside_the_checkout(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from rkllmd.client import Client\nreveal_type(Client().send('x'))\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", ""), done.stdout
    assert done.returncode == 0
