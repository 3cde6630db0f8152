"""How a function fails: one line on descriptor 2, whatever the sentence is like."""

from __future__ import annotations

import os

import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.errors import RknnError, report, require
from tests.portable.rknn.conftest import Line

FAIL = rknn_error.RKNN_ERR_FAIL


def test_what_is_required_fails_with_its_code_and_sentence() -> None:
    require(1, FAIL, "no")
    with pytest.raises(RknnError, match=r"^there is none$") as caught:
        require(0, FAIL, "there is none")
    assert (caught.value.code, caught.value.sentence) == (FAIL, "there is none")


@pytest.mark.parametrize(
    ("sentence", "written"),
    [
        ("it fails", "it fails"),
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("x" * 2000, "x" * (1000 - len("E RKNN: rknn_run: "))),
        ("\udcff", "?"),
    ],
)
def test_the_line_is_one_and_short(line: Line, sentence: str, written: str) -> None:
    report("rknn_run", sentence)
    assert line() == f"E RKNN: rknn_run: {written}\n"


def test_nobody_who_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", closed)
    report("rknn_run", "it fails")
