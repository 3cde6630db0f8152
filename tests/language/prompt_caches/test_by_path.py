"""A prompt cache that a client names by a path: where C writes it, and what becomes of that."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.errors import PermissionDenied, QueueFull
from rkllmd.language.prompt_caches import by_path
from rkllmd.language.prompt_caches.saved import SavedCaches
from rkllmd.machine.disk import placing

USER = os.getuid()


def begun(tmp_path: Path) -> by_path.SavingToPath:
    """Return a cache that is to be saved; C has its place, and the client's has nothing yet."""
    target = tmp_path / "caches" / "cold.cache"
    target.parent.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return by_path.begin(str(target), target, [str(target.parent)], USER, [str(scratch)], "$.path")


def test_what_c_has_written_is_moved_to_where_the_client_wants_it(tmp_path: Path) -> None:
    saving = begun(tmp_path)
    assert saving.path != saving.target
    assert saving.path.name == "cold.cache"
    saving.path.write_bytes(b"12345")
    assert not saving.target.exists()
    with capture_logs() as logs:
        assert by_path.commit(saving, SavedCaches()) is None
    assert saving.target.read_bytes() == b"12345"
    assert [(line["event"], line["bytes"], line["user"]) for line in logs] == [("prompt_cache_saved", 5, USER)]
    by_path.discard(saving)
    assert not saving.path.parent.exists()
    assert saving.target.exists()


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    saving = begun(tmp_path)
    saving.path.write_bytes(b"12345")
    by_path.discard(saving)
    assert not saving.path.parent.exists()
    assert not saving.target.exists()


def test_a_runtime_that_has_written_nothing_is_said_so(tmp_path: Path) -> None:
    saving = begun(tmp_path)
    with capture_logs() as logs:
        assert by_path.commit(saving, SavedCaches()) == "The runtime has written nothing, or the directory is gone."
    assert [line["event"] for line in logs] == ["prompt_cache_not_saved"]


def test_a_place_that_can_not_be_written_any_more_is_said_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = begun(tmp_path)
    saving.path.write_bytes(b"12345")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(placing, "place", full)
    with capture_logs():
        assert by_path.commit(saving, SavedCaches()) == f"{saving.target} can't be written: No space left on device."


def test_what_exceeds_the_quota_is_not_moved(tmp_path: Path) -> None:
    saving, saved = begun(tmp_path), SavedCaches()
    saving.path.write_bytes(b"12345")
    saved.most_bytes = 5
    with capture_logs():
        assert "may take 5" in str(by_path.commit(saving, saved))
    assert not saving.target.exists()
    saved.most_bytes = 2**20
    with capture_logs():
        assert by_path.commit(saving, saved) is None
    assert saved.why_not(tmp_path / "other", USER, 2**20) is not None, "it counts now"


@pytest.mark.parametrize("function", ["check", "private_folder"])
def test_a_place_where_nothing_may_be_put_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(placing, function, denied)
    with pytest.raises(PermissionDenied, match=r"cold\.cache can't be written: Permission denied\.$") as caught:
        begun(tmp_path)
    assert caught.value.data["path"] == "$.path"


def test_a_lack_of_descriptors_is_no_matter_of_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(placing, "check", short)
    with pytest.raises(QueueFull):
        by_path.check(tmp_path / "x", [str(tmp_path)], USER, "$.path")
