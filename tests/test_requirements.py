"""The command that installs a missing package: in the versions that we need, into the environment that runs us."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from rkllmd.requirements import install_command, install_extras

_EXTRAS = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
HERE = [sys.executable, "-m", "pip", "install"]


def test_a_package_comes_with_the_versions_that_our_metadata_ask_for() -> None:
    engine = next(item for item in _EXTRAS["portable"] if item.startswith("llama-cpp-python"))
    (tokenizers,) = _EXTRAS["tokenizer"]
    words = shlex.split(install_command("llama-cpp-python", "tokenizers"))
    assert words == [*HERE, engine, tokenizers], "quoted: a shell would read < and > itself"


def test_options_stand_before_the_packages() -> None:
    assert shlex.split(install_command("tokenizers", options="--no-cache-dir"))[len(HERE)] == "--no-cache-dir"


def test_a_package_that_we_do_not_name_and_one_without_our_metadata_come_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shlex.split(install_command("unheard-of")) == [*HERE, "unheard-of"]

    def missing(_: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert shlex.split(install_command("tokenizers")) == [*HERE, "tokenizers"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: None)
    assert shlex.split(install_command("tokenizers")) == [*HERE, "tokenizers"]
    assert shlex.split(install_extras("mcp", "gateway")) == [*HERE, "/path/to/the/checkout[mcp,gateway]"]


def test_the_packages_of_extras_come_in_the_versions_that_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["trio>=0.27", 'a<2,>=1; extra == "x"', 'b>=3; extra == "x"', 'b>=3; extra == "y"', 'c; extra == "z"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    assert shlex.split(install_extras("x", "y")) == [*HERE, "a<2,>=1", "b>=3"]
