"""Tokenizers in files: which file is read again, and what a text becomes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.tokenizer import TokenizerFile, read
from rkllmd.errors import InvalidParams
from tests.abi.tokenizer_files import WORDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers")
    path = tmp_path / "tokenizer.json"
    path.write_text(WORDS)
    return path


def test_a_file_is_read_once_as_long_as_somebody_uses_it_and_again_when_it_has_changed(path: Path) -> None:
    first = read(str(path))
    assert first.ids("zero<s>two !") == [1, 4, 3, 0]
    assert read(str(path)) is first
    path.write_text(WORDS.replace('"two": 3', '"two": 5'))
    os.utime(path, ns=(0, 0))  # whatever the clock's grain
    assert read(str(path)).ids("two") == [5]
    assert first.ids("two") == [3]


def test_what_names_a_file_that_is_none_is_in_the_error(path: Path) -> None:
    path.write_text("{}")
    with pytest.raises(InvalidParams, match=r"^tokenizer is no readable tokenizer\.json") as caught:
        read(str(path), "tokenizer")
    assert caught.value.data["path"] == "$.tokenizer"


def test_a_panic_of_the_library_is_no_end_of_the_thread() -> None:
    panic = type("PanicException", (BaseException,), {})

    def fail(*_: object, **__: object) -> Any:
        raise panic("index out of bounds")

    broken: Any = SimpleNamespace(encode_batch_fast=fail)
    with pytest.raises(ValueError, match="index out of bounds"):
        TokenizerFile(broken).ids("x")
