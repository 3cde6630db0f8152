"""No file of code has more than 400 lines, no function more than 60, no folder more than a dozen files of one kind.

No function is nested more than four deep.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
HOUSES: Final = ("rkllmd", "rknn", "tests")
LINES, FUNCTION_LINES, DEPTH, FILES = 400, 60, 4, 12
CODE: Final = (".c", ".cpp", ".css", ".h", ".hpp", ".html", ".js", ".py", ".sh")
# What is built or installed lies in folders that git ignores.
IGNORED: Final = {"__pycache__", "build", ".venv"}
# Folder → why it is better full.
FULL_FOLDERS: Final = {
    "rkllmd/rkllm": "one module for each C function",
    "rknn": "one module for each C function",
    "rkllmd/methods/server": "one module for each method",
}


_FUNCTIONS: Final = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, tuple[str, ast.Module]]:
    """Return the text and the syntax tree of each module by its path."""
    texts = {
        str(path.relative_to(CHECKOUT)): path.read_text()
        for house in HOUSES
        for path in (CHECKOUT / house).rglob("*.py")
    }
    return {path: (text, ast.parse(text)) for path, text in texts.items()}


def kind(path: Path) -> str:
    """Return what a file is for those who look for one: a test, or another file with its ending."""
    return f"test{path.suffix}" if path.name.startswith("test_") else path.suffix


def imported(tree: ast.AST) -> set[str]:
    """Return the modules that a module imports, and what it takes from others, by their whole names."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return names | {f"{node.module}.{alias.name}" for node in taken for alias in node.names}


def test_files_of_code_are_short() -> None:
    folders = [path for path in CHECKOUT.iterdir() if path.is_dir() and path.name not in IGNORED]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in CODE]
    code = [path for path in paths if not IGNORED & {*path.relative_to(CHECKOUT).parts}]
    assert {path.suffix for path in code} == {*CODE}, "each kind is found"
    lines = {str(path.relative_to(CHECKOUT)): path.read_text().count("\n") for path in code}
    assert {path: count for path, count in lines.items() if count > LINES} == {}


def depth(statements: Sequence[ast.stmt]) -> int:
    """Return how deep statements are nested; an ``elif`` is as deep as its ``if``, and a function begins anew."""
    deepest = 0
    for statement in statements:
        if isinstance(statement, _FUNCTIONS | ast.ClassDef):
            continue
        beside = getattr(statement, "orelse", [])
        if isinstance(statement, ast.If) and len(beside) == 1 and isinstance(beside[0], ast.If):
            deepest = max(deepest, depth(beside))
            beside = []
        blocks = [getattr(statement, "body", []), beside, getattr(statement, "finalbody", [])]
        blocks += [part.body for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ()))]
        deepest = max(deepest, *(1 + depth(block) for block in blocks if block), 0)
    return deepest


def test_functions_are_flat() -> None:
    functions = [
        (path, node) for path, (_, tree) in modules().items() for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)
    ]
    deep = {f"{path}: {function.name}": depth(function.body) for path, function in functions}
    assert {name: levels for name, levels in deep.items() if levels > DEPTH} == {}
    assert max(deep.values()) == DEPTH, "the limit is what there is"


def test_functions_are_short() -> None:
    long = {}
    for path, (_, tree) in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{path}: {node.name}"] = lines
    assert long == {}


def test_folders_have_few_files_of_one_kind() -> None:
    paths = [path.relative_to(CHECKOUT) for house in HOUSES for path in (CHECKOUT / house).rglob("*.*")]
    files = [path for path in paths if path.name != "__init__.py" and not IGNORED & {*path.parts}]
    counted = Counter((str(path.parent), kind(path)) for path in files)
    full = {place: count for place, count in counted.items() if count > FILES}
    assert {place: count for place, count in full.items() if place[0] not in FULL_FOLDERS} == {}


def test_no_test_module_imports_another() -> None:
    """What tests share stands in a module beside them, where who looks for it finds it."""
    names = {(path, name) for path, (_, tree) in modules().items() for name in imported(tree)}
    assert sorted((path, name) for path, name in names if name.startswith("tests.") and ".test_" in name) == []
