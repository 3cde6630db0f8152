"""Building the portable RKLLM runtime: what is missing, and where the library is."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from rkllmd.portable import build


@pytest.fixture(scope="module")
def runtime() -> Path:
    return build.build()


def test_library_names_its_version(runtime: Path) -> None:
    assert b"RKLLM SDK (version: 1.3.1 | target: portable | engine: llama.cpp " in runtime.read_bytes()
    assert build.library_path() == runtime


def test_build_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "_folders", lambda: [tmp_path / "cache"])
    with pytest.raises(build.NotBuiltError, match=re.escape(f"{sys.executable} -m rkllmd.portable.build")):
        build.library_path()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.CompilerMissingError, match="no-such-compiler"):
        build.build()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.CompilerMissingError, match=r"sudo apt install g\+\+"):
        build.build()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert build.main() == 1
    told = capsys.readouterr().err
    assert told.startswith(f"llama-cpp-python is not installed: {sys.executable} -m pip install llama-cpp-python==")


def test_compiler_errors_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "_folders", lambda: [tmp_path / "cache"])
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {")
    monkeypatch.setattr(build, "_sources", lambda: [broken])
    with pytest.raises(build.BuildError, match="error"):
        build.build()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_one_user_has_built_beside_the_code_another_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: Path
) -> None:
    """Also one who may not write there, and one who has no home."""
    monkeypatch.setattr(build, "HERE", tmp_path / "code")
    monkeypatch.setattr(build, "_hash", lambda engine: "0")
    built = tmp_path / "code/build/librkllmrt-portable-0.so"
    built.parent.mkdir(parents=True)
    shutil.copy(runtime, built)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and Path(path).exists())
    assert (build.library_path(), build.build()) == (built, built)
    monkeypatch.setattr(Path, "home", no_home)
    assert build.library_path() == built


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_where_it_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "HERE", tmp_path / "code")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    umask = os.umask(0o077)
    try:
        assert build._writable_folder() == tmp_path / "code/build"
    finally:
        os.umask(umask)
    assert (tmp_path / "code/build").stat().st_mode & 0o777 == 0o755, "the service has another user"
    (tmp_path / "blocked").touch()
    monkeypatch.setattr(build, "HERE", tmp_path / "blocked")  # no folder: nobody can write into it, root neither
    assert build._writable_folder() == tmp_path / "cache/rkllmd"


@pytest.mark.parametrize("home", ["unknown", "empty", "relative"])
def test_without_a_home_it_is_said_where_to_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setattr(build, "HERE", tmp_path / "blocked")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    match home:
        case "unknown":
            monkeypatch.setattr(Path, "home", no_home)
        case "empty":
            monkeypatch.setenv("HOME", "")
        case "relative":
            monkeypatch.setenv("HOME", "")
            monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    with pytest.raises(build.NotBuiltError):
        build.library_path()
    with pytest.raises(build.BuildError, match="name a folder of yours in XDG_CACHE_HOME"):
        build.build()
