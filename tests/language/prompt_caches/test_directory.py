"""The folder of the named prompt caches: whose it is, and what a new daemon removes from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rkllmd.errors import PermissionDenied
from rkllmd.language.prompt_caches import directory
from rkllmd.language.prompt_caches.store import PromptCaches

LIMIT = 1000


def save(caches: PromptCaches, name: str) -> str | None:
    saving = caches.begin("7", name, [])
    saving.path.write_bytes(b"x" * 100)
    return caches.commit(saving, {}, [])


def names(caches: PromptCaches) -> list[str]:
    return sorted(cache.name for cache in caches.of("7"))


@pytest.fixture
def caches(tmp_path: Path) -> PromptCaches:
    return PromptCaches(str(tmp_path), LIMIT)


def test_what_a_daemon_left_half_written_goes_at_the_next_start(caches: PromptCaches, tmp_path: Path) -> None:
    for name in "abcd":
        assert save(caches, name) is None
    caches.begin("7", "half", []).path.write_bytes(b"half")
    folder = tmp_path / "prompts" / "7"
    (folder / "a.cache").unlink()
    (folder / "b.cache").write_bytes(b"short")
    caches.close()
    again = PromptCaches(str(tmp_path), LIMIT)
    assert names(again) == ["c", "d"]
    assert {path.name for path in folder.iterdir()} == {f"{name}{end}" for name in "cd" for end in (".cache", ".json")}
    assert [path.name for path in (tmp_path / "prompts").iterdir()] == ["7"]


def test_what_it_has_not_written_stays(tmp_path: Path) -> None:
    """The operator may name a directory that has a folder of this name already, of somebody's own prompts."""
    folder = tmp_path / "prompts"
    for owner in ("7", "mine"):
        (folder / owner / "below").mkdir(parents=True)
        for name in ("note.txt", "a.cache", "b.json", ".hidden", "below/c"):
            (folder / owner / name).write_text("[]")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").touch()
    (folder / "8").symlink_to(tmp_path / "outside")
    (folder / "rkllmd-writing-mine").mkdir(mode=0o755)
    (folder / "rkllmd-writing-link").symlink_to(tmp_path / "outside")
    before = sorted(tmp_path.rglob("*"))
    caches = PromptCaches(str(tmp_path), LIMIT)
    assert names(caches) == []
    assert sorted(tmp_path.rglob("*")) == before
    for name in "ab":
        reason = save(caches, name)
        assert reason is not None
        assert "a file that the daemon has not written" in reason
    assert save(caches, "c") is None
    assert (folder / "7" / "a.cache").read_text() == (folder / "7" / "b.json").read_text() == "[]"


def test_it_belongs_to_one_daemon(caches: PromptCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert save(caches, "a") is None
    monkeypatch.setattr(directory, "LOCK_SECONDS", 0.0)
    second = PromptCaches(str(tmp_path), LIMIT)
    assert names(second) == []
    assert "another rkllmd keeps its caches there; give this one" in str(second.why_not())
    assert second.folder_to_write_in() == ""
    with pytest.raises(PermissionDenied, match="another rkllmd keeps its caches there"):
        second.begin("7", "b", [])
    second.keep_only("7", [])
    assert (tmp_path / "prompts" / "7" / "a.cache").exists()
    caches.close()
    assert names(PromptCaches(str(tmp_path), LIMIT)) == ["a"]


def test_two_daemons_that_begin_with_an_empty_directory(caches: PromptCaches, tmp_path: Path) -> None:
    second = PromptCaches(str(tmp_path), LIMIT)
    assert save(second, "a") is None
    with pytest.raises(PermissionDenied, match="another rkllmd keeps its caches there"):
        save(caches, "b")


def test_a_crash_between_the_two_files_leaves_nothing_that_is_nobodys(
    caches: PromptCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target.name == "a.cache":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save(caches, "a")
    caches.close()
    PromptCaches(str(tmp_path), LIMIT)
    assert [path for path in (tmp_path / "prompts").rglob("*") if not path.is_dir()] == []


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts").mkdir()
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    assert "it belongs to another user" in str(PromptCaches(str(tmp_path), LIMIT).why_not())
