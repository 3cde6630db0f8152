"""What every test here gets: a watch over descriptor 2."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

Line = Callable[[], str]


@pytest.fixture
def line(capfd: pytest.CaptureFixture[str]) -> Line:
    """Return a function that gives the one line written to descriptor 2 since it was last called."""

    def read() -> str:
        written = capfd.readouterr()
        assert written.out == ""
        assert re.fullmatch(r"E RKNN: rknn_\w+: [^\n]+\n", written.err), written.err
        return written.err

    return read


@pytest.fixture
def quiet(capfd: pytest.CaptureFixture[str]) -> Callable[[], bool]:
    """Return a function that returns whether nothing was written."""

    def read() -> bool:
        written = capfd.readouterr()
        return written.out == "" and written.err == ""

    return read
