"""Files that are plainly no language model of a runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.models import model_format

GGUF = b"GGUF\3\0\0\0"


def runtime(name: str) -> Any:
    return SimpleNamespace(name=name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("portable", b"", "empty"),
        ("vendor", b"", "empty"),
        ("portable", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("vendor", b"<!DOCTYPE html>", "download"),
        ("vendor", b"PK\3\4....", "ZIP"),
        ("vendor", b"RKNN....", "rknn.init"),
        ("portable", b"\0\0\0\0", "GGUF"),
        ("vendor", GGUF, "portable runtime"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(InvalidParams) as refused:
        model_format.check(runtime(name), str(path), "$.param.model_path")
    assert says in refused.value.message
    assert refused.value.data == {"path": "$.param.model_path", "keyword": "format"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("portable", GGUF), ("vendor", b"\0\1\2\3 what a .rkllm file begins with is not published"), ("simulator", b"")],
)
def test_what_may_be_a_model(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    model_format.check(runtime(name), str(path), "$")
