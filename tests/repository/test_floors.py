"""The contracts that ``make lint`` checks with import-linter are broken by the imports that they are there for.

Each case is a house in small: the rooms that pyproject.toml names, empty, and one import that must not be.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("importlinter", reason="import-linter comes with make lint")

_PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
_CONTRACTS: Final = tomllib.loads(_PROJECT.read_text())["tool"]["importlinter"]["contracts"]
# From the highest floor down; the rooms of one floor are beside each other.
_FLOORS: Final = [re.split(r" [|:] ", floor) for floor in _CONTRACTS[0]["layers"]]

Lint = Callable[..., str]

# Forks for each folder that is named, so that the linter's modules are imported once.
_LINTER: Final = """
import os, sys
from importlinter.cli import lint_imports_command as main
for line in sys.stdin:
    if (child := os.fork()) == 0:
        os.chdir(line.rstrip("\\n"))
        for number in (1, 2):
            os.dup2(os.open("said", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
        main(["--no-cache", "--no-logo"])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def lint() -> Iterator[Lint]:
    """Give a function that returns what lint-imports says of a house with one import; nothing if it may have that."""
    command = [sys.executable, "-c", _LINTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as linter:
        yield partial(_lint, linter)


def _lint(
    linter: subprocess.Popen[str], folder: Path, importer: str, imported: str, *, only_for_types: bool = False
) -> str:
    assert linter.stdin is not None
    assert linter.stdout is not None
    for module in ("rknn", "rkllmd", *(f"rkllmd.{room}" for floor in _FLOORS for room in floor)):
        place = folder.joinpath(*module.split("."))
        place.mkdir()
        statement = f"    import {imported}\n" if only_for_types else f"import {imported}\n"
        head = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n" if only_for_types else ""
        place.joinpath("__init__.py").write_text(head + statement if module == importer else "")
    folder.joinpath("pyproject.toml").write_text(_PROJECT.read_text())
    linter.stdin.write(f"{folder}\n")
    linter.stdin.flush()
    status = int(linter.stdout.readline())
    said = folder.joinpath("said").read_text()
    assert status in (0, 1), said
    return said if status else ""


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(lower, upper) for above, below in pairwise(_FLOORS) for lower in below for upper in above],
)
def test_an_import_upwards_fails_on_each_floor(lint: Lint, tmp_path: Path, lower: str, upper: str) -> None:
    said = lint(tmp_path, f"rkllmd.{lower}", f"rkllmd.{upper}", only_for_types=True)
    assert f"rkllmd.{lower} is not allowed to import rkllmd.{upper}" in said


@pytest.mark.parametrize(
    ("room", "beside"), [(floor[at], floor[at - 1]) for floor in _FLOORS if len(floor) > 1 for at in range(len(floor))]
)
def test_rooms_on_one_floor_do_not_know_each_other(lint: Lint, tmp_path: Path, room: str, beside: str) -> None:
    said = lint(tmp_path, f"rkllmd.{room}", f"rkllmd.{beside}")
    assert f"rkllmd.{room} is not allowed to import rkllmd.{beside}" in said


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("rkllmd.service", "rknn"),
        ("rknn", "rkllmd.methods"),
        ("rknn", "rkllmd.rkllm"),
        ("rknn", "ctypes"),
        ("rkllmd.machine", "ctypes"),
        ("rkllmd.wire", "trio"),
        ("rkllmd.abi", "trio"),
        ("rkllmd.config", "trio"),
        ("rkllmd.chat", "trio"),
    ],
)
def test_what_a_room_must_not_know_fails(lint: Lint, tmp_path: Path, importer: str, imported: str) -> None:
    assert f"{importer} is not allowed to import {imported}" in lint(tmp_path, importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("rkllmd.cli", "rkllmd.daemon"), ("rkllmd.abi", "ctypes"), ("rkllmd.portable", "ctypes"), ("rknn", "rkllmd.abi")],
)
def test_an_import_downwards_passes(lint: Lint, tmp_path: Path, importer: str, imported: str) -> None:
    assert not lint(tmp_path, importer, imported)


def test_every_room_outside_abi_and_portable_is_forbidden_ctypes() -> None:
    """A new room has a floor, since the layers are exhaustive; this list must not forget it either."""
    (contract,) = (contract for contract in _CONTRACTS if "ctypes" in contract.get("forbidden_modules", ()))
    rooms = {f"rkllmd.{room}" for floor in _FLOORS for room in floor} | {"rknn"}
    assert set(contract["source_modules"]) == rooms - {"rkllmd.abi", "rkllmd.portable"}
