"""Finding, identifying, choosing and loading the runtime library."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi import library
from rkllmd.abi.layouts.rkllm import LAYOUTS, LLMResultCallback
from rkllmd.abi.library import Identity, choose_layout, find, identify, load
from rkllmd.errors import NotSupported, RuntimeUnavailable

Build = Callable[..., Path]


# find


def test_find_explicit(tmp_path: Path) -> None:
    file = tmp_path / "librkllmrt.so"
    file.touch()
    assert find(str(file), {}) == file
    assert find(str(tmp_path), {}) == file
    assert find(None, {"RKLLM_LIB_PATH": str(tmp_path)}) == file
    assert find(str(file), {"RKLLM_LIB_PATH": "/nowhere"}) == file
    assert find(os.path.relpath(file), {}).is_absolute()


def test_find_by_search_path(tmp_path: Path) -> None:
    file = tmp_path / "librkllmrt.so"
    file.touch()
    assert find(None, {"LD_LIBRARY_PATH": f"/nowhere:{tmp_path}"}) == file
    assert find("", {"LD_LIBRARY_PATH": f";{tmp_path};"}) == file


def test_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SEARCH_DIRECTORIES", ("/usr/nowhere", "/nowhere"))
    with pytest.raises(RuntimeUnavailable) as caught:
        find(None, {"LD_LIBRARY_PATH": "/nowhere"})
    assert caught.value.data["searched"] == ["/nowhere/librkllmrt.so", "/usr/nowhere/librkllmrt.so"]
    assert caught.value.data["found"] is None
    assert "--rkllm-library" in caught.value.data["fix"]


def test_what_is_named_explicitly_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="absent") as caught:
        find("/absent", {"LD_LIBRARY_PATH": str(tmp_path)})
    assert caught.value.data["searched"] == ["/absent", "/absent/librkllmrt.so"]


# identify


@pytest.mark.parametrize(
    ("content", "identity"),
    [
        (b"", Identity(None)),
        (b"nothing here", Identity(None)),
        (b"rknn llm lib version: 2.3.3b0 (c824afd6c@2025-08-25T09:55:02)", Identity(None)),
        (
            b"\x7fELF\0rknn llm lib version: 1.3.0 (x)\0RKLLM SDK (version: 1.2.0 | target: Linux | build: f8 2025)\0",
            Identity("1.2.0", "target: Linux | build: f8 2025"),
        ),
        (b"RKLLM SDK (version:1.2.1b1)", Identity("1.2.1b1")),
        (b"RKLLM SDK (version: 1.3.1-rc1 | build: \xff)", Identity("1.3.1-rc1", "build: \ufffd")),
        (b"RKLLM SDK (version: 1.3)", Identity(None)),
        (b"x" * 100_000 + b"RKLLM SDK (version: 1.3.0", Identity("1.3.0")),
    ],
)
def test_identify(tmp_path: Path, content: bytes, identity: Identity) -> None:
    path = tmp_path / "library"
    path.write_bytes(content)
    assert identify(path) == identity


def test_identify_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RuntimeUnavailable, match="cannot be loaded"):
            identify(path)


# choose_layout


@pytest.mark.parametrize(
    ("version", "name"),
    [("1.2.1", "1.2"), ("1.2.2", "1.2"), ("1.2.3", "1.2"), ("1.3.0", "1.3"), ("1.3.1", "1.3.1")],
)
def test_known_versions(version: str, name: str) -> None:
    assert choose_layout(Identity(version), None, "x") is LAYOUTS[name]


@pytest.mark.parametrize(
    "version",
    [
        *(None, "1.0.1", "1.1.4", "1.2.0", "1.2.1b1", "1.2.4", "1.2.10", "1.2.31"),
        *("1.3.0b1", "1.3.0-rc1", "1.3.1b2", "1.3.2", "1.3.12", "1.4.0", "2.3.2"),
    ],
)
def test_unknown_versions_are_refused_by_name(version: str | None) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        choose_layout(Identity(version), None, "/usr/lib/librkllmrt.so")
    assert (version or "does not name") in caught.value.message
    assert "1.2.1, 1.2.2, 1.2.3, 1.3.0 and 1.3.1" in caught.value.message
    assert caught.value.data.keys() == {"searched", "found", "fix"}
    assert "--rkllm-layout 1.2, 1.3 or 1.3.1" in caught.value.data["fix"]
    assert choose_layout(Identity(version), "1.3", "x") is LAYOUTS["1.3"]


def test_unknown_override() -> None:
    with pytest.raises(RuntimeUnavailable, match=r"1\.2, 1\.3, 1\.3\.1"):
        choose_layout(Identity("1.3.0"), "1.1", "x")


# load


@pytest.mark.parametrize(("layout", "version"), [("1.2", "1.2.3"), ("1.3", "1.3.0"), ("1.3.1", "1.3.1")])
def test_load_and_call(tiny: Build, layout: str, version: str) -> None:
    loaded = load(tiny(layout, version))
    assert (loaded.version, loaded.runtime, loaded.layout.name) == (version, f"rkllm {version}", layout)
    assert loaded.identity.build == "target: Linux | build: f8ca3ae8 2025-04-08"
    assert loaded.path.name == "librkllmrt.so"
    param = loaded.rkllm_createDefaultParam()
    assert isinstance(param, loaded.layout["RKLLMParam"])
    assert (param.top_k, param.max_context_len) == (40, 4096)
    param.max_new_tokens = 7
    handle = ctypes.c_void_p()
    callback = LLMResultCallback(lambda *_: 0)
    argument: Any = callback
    if layout != "1.2":
        argument = ctypes.byref(loaded.layout["RKLLMCallback"](result_callback=callback))
    assert loaded.rkllm_init(ctypes.byref(handle), ctypes.byref(param), argument) == 0
    run_input = loaded.layout["RKLLMInput"](input_type=2)
    params = loaded.layout["RKLLMInferParam"](keep_history=40)
    assert loaded.rkllm_run(handle, ctypes.byref(run_input), ctypes.byref(params), None) == 42
    assert loaded.rkllm_destroy(handle) == 0


def test_missing_function(tiny: Build) -> None:
    loaded = load(tiny())
    with pytest.raises(NotSupported, match=r"rkllm 1\.2\.3 has no rkllm_abort") as caught:
        loaded.rkllm_abort(None)
    assert caught.value.data == {"runtime": "rkllm 1.2.3", "needs": "a build that exports rkllm_abort"}
    with pytest.raises(AttributeError, match="rkllm_fly"):
        _ = loaded.rkllm_fly
    assert len(loaded.functions) == 15


def test_refused_before_loading(tiny: Build, tmp_path: Path) -> None:
    """A library of an unknown version is not even given to the loader: its constructors would run."""
    mark = tmp_path / "ran"
    more = f'#include <stdio.h>\n__attribute__((constructor)) static void c(void) {{ fopen("{mark}", "w"); }}'
    path = tiny(version="1.2.0", more=more)
    with pytest.raises(RuntimeUnavailable, match=r"1\.2\.0"):
        load(path)
    assert not mark.exists()
    assert load(path, "1.2").version == "1.2.0"
    assert mark.exists()


def test_nameless_library_needs_the_override(tiny: Build) -> None:
    path = tiny(sdk="")
    with pytest.raises(RuntimeUnavailable, match="does not name an RKLLM version"):
        load(path)
    assert load(path, "1.2").runtime == "rkllm unknown"


def test_not_a_library(tmp_path: Path) -> None:
    path = tmp_path / "librkllmrt.so"
    path.write_bytes(b"RKLLM SDK (version: 1.3.0 )")
    with pytest.raises(RuntimeUnavailable, match=r"cannot be loaded: .*(too short|invalid ELF)") as caught:
        load(path)
    assert "architecture" in caught.value.data["fix"]


@pytest.mark.parametrize(("name", "fix"), [("libother.so", "LD_LIBRARY_PATH"), ("libomp.so", "apt install libomp-dev")])
def test_missing_dependency(tiny: Build, tmp_path: Path, name: str, fix: str) -> None:
    other = tmp_path / name
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", other, tmp_path / "other.c"], check=True)
    path = tiny(more="int other(void); int use_other(void) { return other(); }", flags=(str(other),))
    other.unlink()
    with pytest.raises(RuntimeUnavailable, match=f"{name}: cannot open shared object file") as caught:
        load(path)
    assert fix in caught.value.data["fix"]
    assert name in caught.value.data["fix"]


def test_incomplete_library(tiny: Build) -> None:
    path = tiny(source="__attribute__((used)) static const char sdk[] = SDK; int rkllm_init(void) { return 0; }")
    with pytest.raises(RuntimeUnavailable, match="it has no rkllm_createDefaultParam, rkllm_run, rkllm_destroy"):
        load(path)
