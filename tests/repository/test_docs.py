"""What the documents say about the repository is so: paths and modules exist, versions agree, lists are complete."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import rkllmd

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    CHECKOUT / "README.md",
    CHECKOUT / "CONTRIBUTING.md",
    CHECKOUT / "docs/design.md",
    CHECKOUT / "docs/protocol.md",
    CHECKOUT / "docs/configuration.md",
    CHECKOUT / "docs/gateway.md",
    CHECKOUT / "docs/boards.md",
]
# Where a path in a document may begin: the table of the design names modules of the package by their rooms.
BEGINNINGS = (CHECKOUT, CHECKOUT / "rkllmd")
# A path of ours: relative, with a folder, and with an ending that our files have.
PATH = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|md|c|h|cpp|hpp|cmake|sh))`")
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)\)")
RUN_MODULE = re.compile(r"python(?:3)? -m ((?:rkllmd|tests)(?:\.\w+)*)")
# A member of one of our classes, or a class that implements the other side of C: `Generation.last_at`, `Session::stop`.
MEMBER = re.compile(r"`(_?[A-Z]\w+)(?:\.|::)(\w+)`")
# What stands for a name that the reader chooses.
PLACEHOLDERS = re.compile(r"[A-Z]{3,}|NAME|example")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = [path for path in PATH.findall(document.read_text()) if not PLACEHOLDERS.search(path)]
    linked = [str(document.parent / path) for path in LINK.findall(document.read_text())]
    missing = [path for path in named + linked if not any((place / path).exists() for place in BEGINNINGS)]
    assert missing == []


def test_every_member_that_the_design_names_is_in_the_code() -> None:
    folders = (CHECKOUT / "rkllmd", CHECKOUT / "rknn", CHECKOUT / "tests/simulator")
    code = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".hpp", ".h", ".c"}]
    texts = [path.read_text() for path in code]
    missing = [
        f"{name}.{member}"
        for name, member in MEMBER.findall((CHECKOUT / "docs/design.md").read_text())
        if not any(_declares(text, name) and re.search(rf"\b{member}\b", text) for text in texts)
    ]
    # ONNX Runtime's own is no class of ours.
    assert [name for name in missing if name != "RunOptions.terminate"] == []


def _declares(text: str, name: str) -> bool:
    return re.search(rf"\b(?:class|struct) {name}\b|}} {name};", text) is not None


@pytest.mark.parametrize("document", [*DOCUMENTS, CHECKOUT / "Makefile"], ids=lambda path: path.name)
def test_every_module_that_is_run_by_hand_exists(document: Path) -> None:
    modules = set(RUN_MODULE.findall(document.read_text().replace("$(BIN)/", "")))
    assert [module for module in sorted(modules) if importlib.util.find_spec(module) is None] == []


def test_the_version_is_one_everywhere() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (CHECKOUT / "CHANGELOG.md").read_text(), re.M)
    assert project["version"] == rkllmd.__version__ == released[0]


def test_the_changelog_has_the_sections_of_its_format_only() -> None:
    sections = set(re.findall(r"^### (.*)$", (CHECKOUT / "CHANGELOG.md").read_text(), re.M))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_command_of_the_makefile_is_in_its_help_and_every_one_that_is_described_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (help .*)$", makefile, re.M)
    assert phony is not None
    described = set(re.findall(r'@echo "make ([\w-]+) ', makefile))
    assert described == set(phony[1].split()) - {"help"}
    contributing = set(re.findall(r"`make ([\w-]+)", (CHECKOUT / "CONTRIBUTING.md").read_text()))
    assert contributing <= described | {"help"}


def test_every_room_is_on_the_map() -> None:
    design = (CHECKOUT / "docs/design.md").read_text()
    rooms = [path.name for path in (CHECKOUT / "rkllmd").iterdir() if (path / "__init__.py").exists()]
    assert [room for room in sorted(rooms) if f"`{room}/`" not in design] == []


def test_every_module_beside_the_rooms_is_on_the_map() -> None:
    design = (CHECKOUT / "docs/design.md").read_text()
    shown = design.partition("## The map")[2].partition("\n## ")[0]
    modules = [path.name for path in (CHECKOUT / "rkllmd").glob("[!_]*.py")]
    assert modules
    assert [module for module in sorted(modules) if f"`{module}`" not in shown] == []


def test_what_changes_a_queue_entry_is_said_completely() -> None:
    design = (CHECKOUT / "docs/design.md").read_text()
    said = re.search(r"\(`npu/job\.py`\) changes by its own methods only: (.*)\.$", design, re.M)
    assert said is not None
    tree = ast.parse((CHECKOUT / "rkllmd/npu/job.py").read_text())
    (job,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Job")
    methods = [node for node in job.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    # Those that return a value change nothing.
    nothing = ("None", "Iterator[None]")
    changing = {method.name for method in methods if method.returns and ast.unparse(method.returns) in nothing}
    assert set(re.findall(r"`(\w+)`", said[1])) == changing


def test_the_way_of_a_call_is_short_and_visits_each_room_once() -> None:
    design = (CHECKOUT / "docs/design.md").read_text()
    section = design.partition("## The way of two calls")[2].partition("\n## ")[0]
    ways = [re.findall(r"^\d+\. `?(\w+)", way, re.M) for way in section.split("**`")[1:]]
    assert len(ways) == 2
    for rooms in ways:
        assert len(rooms) <= 15
        assert len(set(rooms)) == len(rooms), "a room is visited twice"
        assert rooms[0] == "net"
        assert rooms[-1] == "C"


def test_every_room_says_what_it_may_import() -> None:
    packages = [path for folder in ("rkllmd", "rknn") for path in (CHECKOUT / folder).rglob("__init__.py")]
    texts = {str(path.relative_to(CHECKOUT)): ast.get_docstring(ast.parse(path.read_text())) or "" for path in packages}
    silent = [name for name, text in texts.items() if not re.search(r"imports? ", text)]
    assert silent == ["rkllmd/__init__.py"], "all but the package itself"
