"""``rkllmd mcp``: what it refuses before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.cli import mcp
from rkllmd.cli.command import parser_and_commands
from rkllmd.cli.http import HttpError


def refusal(*arguments: str) -> str:
    with pytest.raises(HttpError) as refused:
        mcp.run(parser_and_commands()[0].parse_args(["mcp", *arguments]))
    return str(refused.value)


@pytest.mark.parametrize("given", ["digits", "=/m/digits.rknn", "digits="])
def test_a_classifier_has_a_name_and_a_file(given: str) -> None:
    assert f"--classifier {given} is not NAME=FILE" in refusal("--classifier", given)


def test_names_of_classes_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_bytes(b"\xff")
    assert "birds.txt can't be read" in refusal("--classifier", f"birds={tmp_path}/birds.rknn")


def test_an_address_beyond_this_machine_needs_keys() -> None:
    assert "--api-keys" in refusal("--listen", "0.0.0.0:0")
    assert "is not HOST:PORT" in refusal("--listen", "8080")
