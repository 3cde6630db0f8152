"""``tests/`` mirrors the house: each module that decides something has its twin, or stands here with a reason.

The twin of ``rkllmd/a/b.py`` is ``tests/a/test_b.py``; where that would be too long, it is in several files whose names
begin so, or in a folder ``tests/a/b``. Where the tests of a room are in folders by their subjects, so are the twins. A
function's own module needs none if a test calls its method over the socket, which shows more.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from rkllmd.calls import registry

CHECKOUT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = CHECKOUT / "tests"
# The packages of function modules, and where the tests are that call them over the socket.
FUNCTIONS: Final = tuple(name.replace(".", "/") for name in registry.NAMESPACES)
OVER_THE_SOCKET: Final = ("rkllm", "rknn", "server")

# A module, or a folder, that has no twin: why.
WITHOUT_TWIN: Final = {
    "rkllmd/daemon.py": "its life is that of a process: tests/server/lifetime starts and ends one",
    "rkllmd/gateway/web": "HTTP itself: tests/gateway/test_clients.py and test_hang_up.py ask the real process",
    "rkllmd/portable/demo/text": "what the demo models are trained with; test_evaluate.py asks the trained ones",
    "rkllmd/portable/demo/train_all.py": "trains the demo models by hand (make demo-model)",
    "rkllmd/portable/demo/training": "trains the demo models by hand (make demo-model)",
    "rkllmd/portable/demo/vision": "draws and trains by hand; tests/portable/demo/test_vision.py asks the trained ones",
    "rkllmd/portable/driver.py": "a tool of tests and of the demo's evaluation, which fail with it",
}
# What makes a module one that decides something.
_DECISIONS: Final = (
    ast.If,
    ast.IfExp,
    ast.BoolOp,
    ast.Compare,
    ast.While,
    ast.For,
    ast.AsyncFor,
    ast.Try,
    ast.Match,
    ast.comprehension,
)


def modules() -> list[Path]:
    """Return the modules of both packages by their paths in the checkout."""
    found = [path for house in ("rkllmd", "rknn") for path in (CHECKOUT / house).rglob("*.py")]
    return sorted(path.relative_to(CHECKOUT) for path in found if path.name != "__init__.py")


def decides(module: Path) -> bool:
    """Return whether a module has a branch, a loop, a comparison or a handler outside what type checkers read."""
    nodes = ast.walk(ast.parse((CHECKOUT / module).read_text()))
    return any(
        isinstance(node, _DECISIONS) and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for node in nodes
    )


def twins(module: Path) -> list[Path]:
    """Return the tests that stand where those of a module belong."""
    house, *folders, name = module.with_suffix("").parts
    name = name.strip("_")
    place = TESTS.joinpath(*([house] if house == "rknn" else []), *folders)
    beside = {f"test_{other.stem}.py" for other in (CHECKOUT / module).parent.glob(f"{name}_*.py")}
    parts = [path for path in place.glob(f"test_{name}_*.py") if path.name not in beside]
    found = [*place.glob(f"test_{name}.py"), *parts, *(place / name).glob("test_*.py")]
    return found if found or place == TESTS else [*place.rglob(f"test_{name}.py")]


def exception(module: Path) -> str | None:
    """Return the entry of the list that a module stands under."""
    return next((path for path in map(str, (module, *module.parents)) if path in WITHOUT_TWIN), None)


@cache
def texts_over_the_socket() -> str:
    """Return the text of the tests that speak to a daemon."""
    return "".join(path.read_text() for room in OVER_THE_SOCKET for path in (TESTS / room).rglob("*.py"))


def is_called_over_the_socket(module: Path) -> bool:
    """Return whether a function module's method is named in such a test."""
    if str(module.parent) not in FUNCTIONS or module.stem.startswith("_"):
        return False
    method = registry.NAMESPACES[str(module.parent).replace("/", ".")] + module.stem
    return f'"{method}"' in texts_over_the_socket()


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_that_decides_something_has_its_twin(module: Path) -> None:
    if exception(module) is None and decides(module):
        assert twins(module) or is_called_over_the_socket(module), f"where are the tests of {module}?"


@pytest.mark.parametrize("module", [path for path in modules() if str(path.parent) in FUNCTIONS], ids=str)
def test_each_function_is_called_over_the_socket(module: Path) -> None:
    """Also one that decides nothing: its parameters and its C function are wired there alone."""
    assert module.stem.startswith("_") or is_called_over_the_socket(module)


@pytest.mark.parametrize("path", WITHOUT_TWIN)
def test_what_is_listed_is_there_and_has_no_twin(path: str) -> None:
    listed = [module for module in modules() if exception(module) == path]
    assert any(decides(module) and not twins(module) for module in listed)
