"""How often the kernel has killed for want of memory: its files as they are, or missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.keeper import kills


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    for name, path in (("_MACHINE", "vmstat"), ("_OWN_GROUP", "cgroup"), ("_GROUPS", "")):
        monkeypatch.setattr(kills, name, str(tmp_path / path))
    (tmp_path / "vmstat").write_text("nr_free_pages 17\noom_kill 5\nnuma_hit 3\n")
    (tmp_path / "cgroup").write_text("1:name=systemd:/x\n0::/a/b\n")
    (tmp_path / "a/b/memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n")
    return tmp_path


def test_those_of_the_group_and_of_the_machine_count(files: Path) -> None:
    assert kills.count() == 7


@pytest.mark.parametrize(("missing", "left"), [("vmstat", 2), ("cgroup", 5), ("a/b/memory.events", 5)])
def test_what_is_not_there_counts_for_nothing(files: Path, missing: str, left: int) -> None:
    (files / missing).unlink()
    assert kills.count() == left


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill x\n", "\xff"])
def test_nor_does_nonsense(files: Path, text: str) -> None:
    (files / "vmstat").write_text(text)
    (files / "cgroup").write_text("0::/nowhere\n")
    assert kills.count() == 0


def test_on_this_machine_there_is_a_number() -> None:
    assert kills.count() >= 0
