"""Waiting for the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rkllmd.store.synchroniser import Synchroniser

Reasons = list[str | None]


def test_who_waits_is_told_and_nothing_stays_open(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    before = len(os.listdir("/proc/self/fd"))
    disk = Synchroniser(lambda: os.open(file, os.O_RDONLY))
    told: Reasons = []
    for _ in range(5):
        disk.tell([told.append, told.append])
    disk.close(60)
    assert told == [None] * 10
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("what", ["open", "synchronise"])
def test_a_failure_is_told_and_the_next_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    file = tmp_path / "file"
    if what == "synchronise":
        file.touch()

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fail)
    disk = Synchroniser(lambda: os.open(file, os.O_RDONLY))
    told: Reasons = []
    disk.tell([told.append])
    disk.tell([told.append])
    disk.close(60)
    expected = "No such file or directory" if what == "open" else "Input/output error"
    assert told == [expected] * 2
