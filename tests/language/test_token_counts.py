"""Counts of tokens: by whom, and what is said where nobody knows."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.language import token_counts
from rkllmd.portable.extension import Counted
from tests.abi.tokenizer_files import WORDS

PART, INSIDE = Counted(part=True), Counted()


def runtime(extension: object = None) -> Any:
    journal = SimpleNamespace(calling=lambda function, model: nullcontext())
    library = SimpleNamespace(runtime="RKLLM 1.3.1")
    return SimpleNamespace(extension=extension, journal=journal, library=library, name="vendor")


def model(folder: Path | None = None, given: Path | None = None) -> Any:
    files = (None if given is None else str(given), None)
    folder_path = None if folder is None else str(folder)
    return SimpleNamespace(callback_files=files, tokenizer=folder_path, own_tokenizer=None, number=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(WORDS)
    return tmp_path


def test_a_model_is_counted_by_the_tokenizer_that_it_was_given(folder: Path) -> None:
    declared, given = model(folder), model(given=folder / "tokenizer.json")
    for counted in (declared, given):
        token_counts.check(runtime(), counted)
        assert token_counts.count(runtime(), counted, b"zero <s> one", PART) == 3
    assert declared.own_tokenizer is given.own_tokenizer


def test_what_a_template_inside_c_adds_is_not_known(folder: Path) -> None:
    with pytest.raises(NotSupported, match="chat template") as refused:
        token_counts.count(runtime(), model(folder), b"zero", INSIDE)
    assert refused.value.data["runtime"] == "RKLLM 1.3.1"
    assert token_counts.known(runtime(), model(folder), b"zero", INSIDE) is None
    assert token_counts.known(runtime(), model(folder), b"zero", Counted(bare=True)) == 1


def test_without_a_tokenizer_the_error_says_what_helps(tmp_path: Path) -> None:
    for unknown in (model(), model(tmp_path)):
        with pytest.raises(NotSupported, match=r"needs the model's tokenizer\.json, in the folder"):
            token_counts.check(runtime(), unknown)
        assert token_counts.known(runtime(), unknown, b"zero", PART) is None


def test_a_run_does_not_fail_for_a_tokenizer_that_can_not_be_read(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert token_counts.known(runtime(), model(folder), b"zero", PART) is None
    with pytest.raises(InvalidParams):
        token_counts.count(runtime(), model(folder), b"zero", PART)
