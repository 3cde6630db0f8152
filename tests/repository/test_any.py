"""``Any`` switches the type checker off, so it is imported only where a reason is given."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
# Module → why. Everybody else takes Json, CValue or Array from there, which say what is meant.
WITH_ANY: Final = {
    "rkllmd/abi/c_types.py": "CValue: structs of one of several layouts, chosen when the program runs",
    "rkllmd/json_types.py": "Json: its shape is checked by schemas",
    "rkllmd/portable/rknn/c_memory.py": "Array: its elements may be of every type that numpy has",
}


def has_any(tree: ast.Module) -> bool:
    """Return whether a module imports ``Any``, or takes it from a module that it imports."""
    return any(
        (isinstance(node, ast.ImportFrom) and any(alias.name == "Any" for alias in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
        for node in ast.walk(tree)
    )


def test_any_is_where_it_is_listed_and_nowhere_else() -> None:
    paths = [path for house in ("rkllmd", "rknn") for path in (CHECKOUT / house).rglob("*.py")]
    found = {str(path.relative_to(CHECKOUT)) for path in paths if has_any(ast.parse(path.read_text()))}
    assert found == WITH_ANY.keys()
