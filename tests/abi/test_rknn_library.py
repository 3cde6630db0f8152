"""Which RKNN library is loaded: the version in the file decides, and what is said of every other one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi import rknn_library
from rkllmd.abi.rknn_library import SIGNATURES, load
from rkllmd.errors import NotSupported, RuntimeUnavailable

Build = Callable[..., Path]
FUNCTIONS = "int rknn_init(void) { return 0; } int rknn_query(void) { return 0; } int rknn_destroy(void) { return 7; }"


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that builds a tiny RKNN library."""

    def made(text: str = "librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)", *, more: str = "") -> Path:
        source, path = tmp_path / "tiny.c", tmp_path / "librknnrt.so"
        source.write_text(f'__attribute__((used)) static const char version[] = "{text}";\n{FUNCTIONS}\n{more}\n')
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
        return path

    return made


RUN = "int rknn_run(void) { return 0; }"


def test_a_library_of_the_known_version(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(more=RUN)
    loaded = load(path)
    assert (loaded.version, loaded.runtime, loaded.path) == ("2.3.2", "rknn 2.3.2", path)
    assert loaded.identity.build == "429f97ae6b@2025-04-09T09:09:27"
    assert loaded.rknn_destroy(1) == 7
    assert loaded.functions.keys() == SIGNATURES.keys()
    with pytest.raises(NotSupported, match=r"rknn 2\.3\.2 has no rknn_dup_context"):
        loaded.rknn_dup_context(None, None)
    monkeypatch.chdir(path.parent)
    assert load(path.name).path == path, "and not what the loader of libraries finds by that name"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("librknnrt version: 2.3.3 (x)", "is RKNN runtime 2.3.3"),
        ("librknnrt version: 1.6.0 (x)", "is RKNN runtime 1.6.0"),
        ("something else", "does not name an RKNN version"),
    ],
)
def test_another_version_is_not_even_given_to_the_loader(build: Build, tmp_path: Path, text: str, what: str) -> None:
    mark = tmp_path / "ran"
    begins = f'#include <stdio.h>\n__attribute__((constructor)) static void c(void) {{ fopen("{mark}", "w"); }}'
    path = build(text, more=RUN + begins.replace("#include", "\n#include"))
    with pytest.raises(RuntimeUnavailable) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path} {what}; supported is 2.3.2.")
    assert "--rknn-layout 2.3.2" in caught.value.data["fix"]
    assert not mark.exists()
    with pytest.raises(RuntimeUnavailable):
        load(path, "2.0.0")
    assert load(path, "2.3.2").rknn_destroy(1) == 7, "whoever knows better may say so"
    assert mark.exists()


def test_a_library_without_version_is_called_unknown(build: Build) -> None:
    assert load(build("something else", more=RUN), "2.3.2").runtime == "rknn unknown"


def test_a_library_that_lacks_what_everything_needs_is_refused(build: Build) -> None:
    with pytest.raises(RuntimeUnavailable, match="it has no rknn_run"):
        load(build())


def test_a_runtime_in_this_process_has_its_functions_as_they_are() -> None:
    functions = rknn_library.in_python({"rknn_init": lambda *_: 5}, "2.3.2", Path("/here"))
    assert (functions.rknn_init(1, 2), functions.version, functions.path) == (5, "2.3.2", Path("/here"))
