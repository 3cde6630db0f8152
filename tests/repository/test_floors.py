"""The contracts that ``make lint`` checks with import-linter are broken by the imports that they are there for.

Each case is a house in small: the rooms that pyproject.toml names, empty, and one import that must not be.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("importlinter", reason="import-linter comes with make lint")

_PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
_CONTRACTS: Final = tomllib.loads(_PROJECT.read_text())["tool"]["importlinter"]["contracts"]
# From the highest floor down; the rooms of one floor are beside each other.
_FLOORS: Final = [re.split(r" [|:] ", floor) for floor in _CONTRACTS[0]["layers"]]


def _lint(folder: Path, importer: str, imported: str, *, only_for_types: bool = False) -> str:
    """Return what lint-imports says of a house with one import; nothing if it keeps every contract."""
    for module in ("rknn", "rkllmd", *(f"rkllmd.{room}" for floor in _FLOORS for room in floor)):
        place = folder.joinpath(*module.split("."))
        place.mkdir()
        statement = f"    import {imported}\n" if only_for_types else f"import {imported}\n"
        head = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n" if only_for_types else ""
        place.joinpath("__init__.py").write_text(head + statement if module == importer else "")
    folder.joinpath("pyproject.toml").write_text(_PROJECT.read_text())
    program = "from importlinter.cli import lint_imports_command as main; main(['--no-cache', '--no-logo'])"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    return ended.stdout if ended.returncode else ""


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(lower, upper) for above, below in pairwise(_FLOORS) for lower in below for upper in above],
)
def test_an_import_upwards_fails_on_each_floor(tmp_path: Path, lower: str, upper: str) -> None:
    said = _lint(tmp_path, f"rkllmd.{lower}", f"rkllmd.{upper}", only_for_types=True)
    assert f"rkllmd.{lower} is not allowed to import rkllmd.{upper}" in said


@pytest.mark.parametrize(
    ("room", "beside"), [(floor[at], floor[at - 1]) for floor in _FLOORS if len(floor) > 1 for at in range(len(floor))]
)
def test_rooms_on_one_floor_do_not_know_each_other(tmp_path: Path, room: str, beside: str) -> None:
    said = _lint(tmp_path, f"rkllmd.{room}", f"rkllmd.{beside}")
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
def test_what_a_room_must_not_know_fails(tmp_path: Path, importer: str, imported: str) -> None:
    assert f"{importer} is not allowed to import {imported}" in _lint(tmp_path, importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("rkllmd.cli", "rkllmd.daemon"), ("rkllmd.abi", "ctypes"), ("rkllmd.portable", "ctypes"), ("rknn", "rkllmd.abi")],
)
def test_an_import_downwards_passes(tmp_path: Path, importer: str, imported: str) -> None:
    assert not _lint(tmp_path, importer, imported)


def test_every_room_outside_abi_and_portable_is_forbidden_ctypes() -> None:
    """A new room has a floor, since the layers are exhaustive; this list must not forget it either."""
    (contract,) = (contract for contract in _CONTRACTS if "ctypes" in contract.get("forbidden_modules", ()))
    rooms = {f"rkllmd.{room}" for floor in _FLOORS for room in floor} | {"rknn"}
    assert set(contract["source_modules"]) == rooms - {"rkllmd.abi", "rkllmd.portable"}
