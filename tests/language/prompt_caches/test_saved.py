"""How much clients may save to paths of their own: what counts, for whom, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.errors import PermissionDenied
from rkllmd.language.prompt_caches.saved import SavedCaches
from rkllmd.store import learned
from tests.store.stores import opened

MIB = 2**20
ME, OTHER = 1000, 1001


def saved(tmp_path: Path, name: str, size: int, caches: SavedCaches, user: int | None = ME) -> Path:
    """Return the path of a file that was saved for a user."""
    path = tmp_path / name
    path.touch()
    caches.note(path, user, size)
    return path


def test_each_user_has_a_quota_and_all_have_one(tmp_path: Path) -> None:
    caches = SavedCaches()
    caches.most_bytes, caches.most_bytes_of_user = 5 * MIB, 3 * MIB
    new = tmp_path / "new"
    saved(tmp_path, "a", 2 * MIB, caches)
    assert caches.why_not(new, ME, MIB) is None
    assert "of this user" in str(caches.why_not(new, ME, MIB + 1))
    saved(tmp_path, "b", 2 * MIB, caches, OTHER)
    assert caches.why_not(new, ME, MIB) is None
    saved(tmp_path, "c", MIB // 2, caches, None)
    assert "of all users" in str(caches.why_not(new, ME, MIB))


def test_who_has_used_it_up_is_refused_before_the_run(tmp_path: Path) -> None:
    caches = SavedCaches()
    caches.most_bytes, caches.most_bytes_of_user = 5 * MIB, MIB
    caches.check(tmp_path / "new", ME, "$.path")
    old = saved(tmp_path, "old", MIB, caches)
    with pytest.raises(PermissionDenied, match="take 1048576 bytes") as refused:
        caches.check(tmp_path / "new", ME, "$.path")
    assert refused.value.data == {"path": "$.path", "setting": "saved_cache_bytes_per_user"}
    caches.check(old, ME, "$.path")  # it would be replaced
    caches.check(tmp_path / "new", OTHER, "$.path")
    caches.most_bytes = MIB
    with pytest.raises(PermissionDenied) as refused:
        caches.check(tmp_path / "new", OTHER, "$.path")
    assert refused.value.data["setting"] == "saved_cache_bytes"


def test_nobody_but_operators_replaces_what_another_user_has_saved(tmp_path: Path) -> None:
    operator = 1002
    with opened(tmp_path) as store:
        mine = saved(tmp_path, "mine", 1, SavedCaches(learned.saved_caches(store)))
    with opened(tmp_path) as store:
        caches = SavedCaches(learned.saved_caches(store), lambda user: user == operator)
        for user in (ME, operator, None):
            caches.check(mine, user, "$.path")
            assert caches.why_not(mine, user, 1) is None
        with pytest.raises(PermissionDenied, match="another user has saved"):
            caches.check(mine, OTHER, "$.path")
        assert "another user" in str(caches.why_not(mine, OTHER, 1))
        mine.unlink()
        caches.check(mine, OTHER, "$.path")
        saved(tmp_path, "mine", 1, caches, OTHER)
        with pytest.raises(PermissionDenied):
            caches.check(mine, ME, "$.path")


def test_what_is_gone_or_something_else_counts_no_more(tmp_path: Path) -> None:
    caches = SavedCaches()
    caches.most_bytes = 4 * MIB
    saved(tmp_path, "a", 2 * MIB, caches).unlink()
    link = saved(tmp_path, "b", 2 * MIB, caches)
    assert caches.why_not(tmp_path / "new", ME, 4 * MIB - 1) is not None
    link.unlink()
    link.symlink_to("/dev/null")
    assert caches.why_not(tmp_path / "new", ME, 4 * MIB) is None


def test_many_small_ones_count_as_well(tmp_path: Path) -> None:
    caches = SavedCaches()
    caches.most_bytes = MIB
    for number in range(16):
        assert caches.why_not(tmp_path / str(number), ME, 1) is None
        saved(tmp_path, str(number), 1, caches)
    assert caches.why_not(tmp_path / "new", ME, 1) is not None


def test_the_next_daemon_knows_of_them(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        path = saved(tmp_path, "a", 3 * MIB, SavedCaches(learned.saved_caches(store)))
    with opened(tmp_path) as store:
        caches = SavedCaches(learned.saved_caches(store))
        caches.most_bytes = 4 * MIB
        assert caches.why_not(tmp_path / "new", ME, 2 * MIB) is not None
        path.unlink()
        assert caches.why_not(tmp_path / "new", ME, 2 * MIB) is None
    with opened(tmp_path) as store:
        assert learned.saved_caches(store).read() == {}
