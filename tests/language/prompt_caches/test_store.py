"""The prompt caches of the daemon's own directory: names, owners, the limit, what a crash leaves behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from rkllmd.errors import InvalidParams, PermissionDenied, RpcError
from rkllmd.language.prompt_caches import store
from rkllmd.language.prompt_caches.store import PromptCache, PromptCaches

WHERE = "$.prompt_cache_path"
MODEL: dict[str, str | int] = {"model_path": "/models/a", "n_batch": 1}
LIMIT = 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let each look at the clock be a second after the one before."""
    now = [1000.0]

    def time() -> float:
        now[0] += 1
        return now[0]

    monkeypatch.setattr("rkllmd.language.prompt_caches.store.time.time", time)
    return now


@pytest.fixture
def caches(tmp_path: Path, clock: list[float]) -> PromptCaches:
    return PromptCaches(str(tmp_path), LIMIT)


def save(
    caches: PromptCaches,
    name: str,
    size: int = 100,
    owner: str = "7",
    loaded: Collection[PromptCache | None] = (),
    content: bytes = b"",
) -> str | None:
    saving = caches.begin(owner, name, loaded, WHERE)
    saving.path.write_bytes(content or name[:1].encode() * size)
    return caches.commit(saving, MODEL, loaded)


def load(caches: PromptCaches, name: str, owner: str = "7") -> PromptCache:
    cache = caches.open(owner, name, MODEL, WHERE)
    caches.mark_used(cache)
    return cache


def next_daemon(caches: PromptCaches, directory: Path) -> PromptCaches:
    caches.close()
    return PromptCaches(str(directory), LIMIT)


def names(caches: PromptCaches, owner: str = "7") -> list[str]:
    return [cache.name for cache in caches.of(owner)]


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory / "prompts")) for path in directory.rglob("*") if path.is_file()}


def refused(expected: type[RpcError], work: Any, *arguments: Any) -> dict[str, Any]:
    with pytest.raises(expected) as caught:
        work(*arguments)
    return {"message": caught.value.message, **caught.value.data}


def test_what_was_saved_is_found_by_its_name(caches: PromptCaches, tmp_path: Path) -> None:
    assert save(caches, "greeting", content=b"Hello") is None
    cache = load(caches, "greeting")
    assert cache.path.read_bytes() == b"Hello"
    assert (cache.size_bytes, cache.fingerprint) == (5, MODEL)
    assert caches.size_bytes == 5
    assert files(tmp_path) == {"7/greeting.cache", "7/greeting.json"}


def test_nobody_else_may_look_into_the_folders(caches: PromptCaches, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save(caches, "a")
    finally:
        os.umask(before)
    for folder in (tmp_path / "prompts", tmp_path / "prompts" / "7"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_an_owner_has_only_its_own(caches: PromptCaches) -> None:
    save(caches, "a", owner="7", content=b"seven")
    save(caches, "a", owner="8", content=b"eight")
    save(caches, "b", owner="8")
    assert load(caches, "a").path.read_bytes() == b"seven"
    assert (names(caches), names(caches, "8"), names(caches, "9")) == (["a"], ["b", "a"], [])
    assert refused(InvalidParams, load, caches, "b")["keyword"] == "unknown"
    assert refused(InvalidParams, caches.drop, "7", "b", [], WHERE)["keyword"] == "unknown"
    caches.drop("7", "a", [], WHERE)
    assert load(caches, "a", "8").path.read_bytes() == b"eight"


def test_a_name_that_is_saved_again_is_replaced(caches: PromptCaches, tmp_path: Path) -> None:
    save(caches, "a", content=b"old")
    assert save(caches, "a", content=b"newer") is None
    assert load(caches, "a").path.read_bytes() == b"newer"
    assert caches.size_bytes == 5
    assert files(tmp_path) == {"7/a.cache", "7/a.json"}


def test_names_that_look_like_other_names_files_are_their_own(caches: PromptCaches, tmp_path: Path) -> None:
    wanted = ["a", "a.json", "a.cache", "a.json.cache", "A", "-", "_", "0", "x" * 100]
    for number, name in enumerate(wanted):
        assert save(caches, name, content=bytes([number + 1])) is None
    for number, name in enumerate(wanted):
        assert load(caches, name).path.read_bytes() == bytes([number + 1])
    again = next_daemon(caches, tmp_path)
    assert sorted(names(again)) == sorted(wanted)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a b", "a\n", "\na", "ä", "a\0", "x" * 101, "a/b", "../7/a", "/a", "~", "a:b", "*"],
)
def test_what_is_no_name_is_refused_by_everything(caches: PromptCaches, tmp_path: Path, name: str) -> None:
    for work, arguments in (
        (caches.check_name, (name, WHERE)),
        (caches.begin, ("7", name, [], WHERE)),
        (caches.open, ("7", name, MODEL, WHERE)),
        (caches.drop, ("7", name, [], WHERE)),
    ):
        data = refused(InvalidParams, work, *arguments)
        assert (data["keyword"], data["path"]) == ("pattern", WHERE)
        assert "prompt_cache_path: a prompt cache's name has" in data["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("directory", ["", "/nowhere/at/all"])
def test_without_a_directory_names_are_refused_and_it_is_said_why(directory: str) -> None:
    caches = PromptCaches(directory, LIMIT)
    data = refused(PermissionDenied, save, caches, "a")
    assert data["setting"] == "cache_directory"
    assert "the setting cache_directory" in data["message"]
    assert (caches.of("7"), caches.size_bytes) == ([], 0)


def test_a_directory_that_comes_later_is_used(tmp_path: Path) -> None:
    caches = PromptCaches(str(tmp_path / "later"), LIMIT)
    refused(PermissionDenied, save, caches, "a")
    (tmp_path / "later").mkdir()
    assert save(caches, "a") is None


def test_a_folder_that_can_not_be_made_is_an_error_that_says_so(caches: PromptCaches, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("a file")
    data = refused(PermissionDenied, save, caches, "a")
    assert "prompts: File exists" in data["message"]


def test_paths_into_the_directory_are_refused(caches: PromptCaches, tmp_path: Path) -> None:
    save(caches, "a")
    for path in (tmp_path / "prompts", tmp_path / "prompts" / "8" / "a.cache"):
        assert refused(PermissionDenied, caches.check_path, path, WHERE)["path"] == WHERE
    for path in (tmp_path / "a.cache", tmp_path / "prompts2", Path("/a")):
        caches.check_path(path, WHERE)
    PromptCaches().check_path(tmp_path, WHERE)


# -- what fits --------------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_those_of_the_model(caches: PromptCaches) -> None:
    data = refused(InvalidParams, load, caches, "x")
    assert (data["keyword"], data["known"]) == ("unknown", [])
    assert data["message"].endswith("You have none for this model.")
    save(caches, "a")
    save(caches, "b")
    saving = caches.begin("7", "other", [], WHERE)
    saving.path.write_bytes(b"x")
    caches.commit(saving, {**MODEL, "model_path": "/models/b"}, [])
    data = refused(InvalidParams, load, caches, "x")
    assert data["known"] == ["b", "a"]
    assert data["message"].endswith("Yours for this model: b, a.")


def test_a_long_list_of_names_is_cut(caches: PromptCaches) -> None:
    for number in range(25):
        save(caches, f"n{number}", 1)
    data = refused(InvalidParams, load, caches, "x")
    assert len(data["known"]) == 20
    assert data["message"].endswith("n5 and 5 more.")


def test_a_cache_that_does_not_fit_is_refused_with_what_differs(caches: PromptCaches) -> None:
    save(caches, "a")
    data = refused(InvalidParams, caches.open, "7", "a", {**MODEL, "n_batch": 2}, WHERE)
    assert (data["keyword"], data["path"]) == ("fingerprint", WHERE)
    assert data["differences"] == [{"what": "n_batch", "saved": 1, "now": 2}]
    assert "another n_batch (1, now 2)" in data["message"]
    load(caches, "a")  # it stays


@pytest.mark.parametrize("damage", ["gone", "cut", "zeros"])
def test_a_damaged_file_is_refused_and_forgotten(caches: PromptCaches, tmp_path: Path, damage: str) -> None:
    save(caches, "a")
    path = load(caches, "a").path
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"a" * 99 if damage == "cut" else bytes(100))
    assert refused(InvalidParams, load, caches, "a")["keyword"] == "damaged"
    assert refused(InvalidParams, load, caches, "a")["keyword"] == "unknown"
    assert files(tmp_path) == set()


def test_what_is_forgotten_is_forgotten_with_the_lock(caches: PromptCaches, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []

    def try_lock() -> None:
        found.append(caches._changing.acquire(blocking=False))
        if found[-1]:
            caches._changing.release()

    def look(_: Path) -> None:
        other = threading.Thread(target=try_lock)
        other.start()
        other.join()

    save(caches, "a")
    save(caches, "b")
    load(caches, "a").path.write_bytes(b"other")
    monkeypatch.setattr(store, "_unlink", look)
    refused(InvalidParams, load, caches, "a")
    caches.drop("7", "b", [])
    assert found == [False] * 4, "the thread that writes conversations aside waits"


# -- what is not kept -------------------------------------------------------------------------------------------------


def test_nothing_written_is_nothing_kept(caches: PromptCaches, tmp_path: Path) -> None:
    saving = caches.begin("7", "a", [], WHERE)
    assert caches.commit(saving, MODEL, []) == "The runtime has written nothing."
    saving = caches.begin("7", "a", [], WHERE)
    saving.path.touch()
    assert caches.commit(saving, MODEL, []) == "The runtime's file is empty."
    assert (names(caches), files(tmp_path)) == ([], set())


def test_what_is_discarded_leaves_nothing_and_the_older_one_stays(caches: PromptCaches, tmp_path: Path) -> None:
    save(caches, "a", content=b"old")
    saving = caches.begin("7", "a", [], WHERE)
    saving.path.write_bytes(b"half")
    caches.discard(saving)
    caches.discard(saving)
    assert load(caches, "a").path.read_bytes() == b"old"
    assert files(tmp_path) == {"7/a.cache", "7/a.json"}


def test_a_full_disk_is_a_reason_and_no_exception(caches: PromptCaches, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    saving = caches.begin("7", "a", [], WHERE)
    with saving.path.open("wb") as file:
        file.write(b"abc")
    reason = caches.commit(saving, MODEL, [])
    assert reason is not None
    assert reason.endswith("No space left on device.")
    assert (names(caches), saving.path.exists()) == ([], False)


# -- the limit --------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first(caches: PromptCaches, tmp_path: Path) -> None:
    for name in "abcde":
        save(caches, name, 200)
    load(caches, "a")
    save(caches, "f", 200, owner="8")
    assert names(caches) == ["a", "e", "d", "c"], "b was used longest ago"
    save(caches, "g", 300)
    assert (names(caches), names(caches, "8")) == (["g", "a", "e"], ["f"])
    assert caches.size_bytes == 900
    assert files(tmp_path) == {f"{item}.{end}" for item in ("7/g", "7/a", "7/e", "8/f") for end in ("cache", "json")}


def test_who_saves_most_drives_out_nobody_elses(caches: PromptCaches) -> None:
    save(caches, "old", 300)
    for number in range(20):
        assert save(caches, f"n{number}", 200, owner="8") is None
    assert names(caches) == ["old"]
    assert names(caches, "8") == ["n19", "n18", "n17"]
    assert save(caches, "large", 400, owner="9") is None
    assert (names(caches), names(caches, "8"), names(caches, "9")) == (["old"], ["n19"], ["large"])


def test_what_is_loaded_stays(caches: PromptCaches) -> None:
    save(caches, "a", 500)
    loaded = load(caches, "a")
    save(caches, "b", 400)
    assert save(caches, "c", 400, loaded=[None, loaded]) is None
    assert names(caches) == ["c", "a"]
    reason = save(caches, "d", 600, loaded=[None, loaded])
    assert reason is not None
    assert "cache_bytes (1000)" in reason
    assert names(caches) == ["c", "a"], "nothing goes for what does not fit anyway"


def test_one_that_is_larger_than_the_limit_takes_nobody_with_it(caches: PromptCaches, tmp_path: Path) -> None:
    save(caches, "a", 100)
    assert save(caches, "b", LIMIT + 1) is not None
    assert save(caches, "a", LIMIT + 1) is not None
    assert (names(caches), load(caches, "a").size_bytes) == (["a"], 100)
    assert files(tmp_path) == {"7/a.cache", "7/a.json"}


def test_what_is_replaced_does_not_count(caches: PromptCaches) -> None:
    save(caches, "a", 100)
    save(caches, "b", 900)
    assert save(caches, "b", 900) is None
    assert names(caches) == ["b", "a"]


def test_there_is_a_limit_of_their_number_too(caches: PromptCaches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_CACHES", 3)
    for name in "abcd":
        save(caches, name, 1)
    assert names(caches) == ["d", "c", "b"]


def test_what_is_loaded_is_neither_replaced_nor_dropped(caches: PromptCaches) -> None:
    save(caches, "a")
    loaded = load(caches, "a")
    for data in (
        refused(InvalidParams, caches.begin, "7", "a", [loaded], WHERE),
        refused(InvalidParams, caches.drop, "7", "a", [None, loaded], WHERE),
    ):
        assert data["keyword"] == "loaded"
        assert "rkllm.release_prompt_cache" in data["message"]
    save(caches, "a", owner="8", loaded=[loaded])
    caches.drop("7", "a", [None], WHERE)


# -- the next daemon --------------------------------------------------------------------------------------------------


def test_a_later_daemon_has_them_in_the_order_of_their_use(caches: PromptCaches, tmp_path: Path) -> None:
    for name in "abc":
        save(caches, name)
    used = load(caches, "a").used_at
    again = next_daemon(caches, tmp_path)
    assert names(again) == ["a", "c", "b"]
    found = load(again, "a")
    assert (found.saved_at, found.size_bytes, found.fingerprint) == (1001.0, 100, MODEL)
    assert used < found.used_at
