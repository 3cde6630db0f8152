"""Paths from a client: what C may be given to read and to write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.errors import InvalidParams, PermissionDenied, RpcError
from rkllmd.machine import paths
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.paths import readable_directory, readable_file, writable_file
from rkllmd.wire.long_strings import LongString

WHERE = "$.model_path"
Check = Callable[..., Path]
BOTH = pytest.mark.parametrize("check", [readable_file, writable_file])


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """Return a directory that is allowed."""
    directory = tmp_path / "inside"
    directory.mkdir()
    (directory / "model").touch()
    return directory


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return one that is not."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").touch()
    return directory


def refused(check: Check, kind: type[RpcError], path: Any, *allowed: Path) -> RpcError:
    with pytest.raises(kind) as caught:
        check(str(path), [str(item) for item in allowed], WHERE)
    assert caught.value.data["path"] == WHERE
    assert caught.value.message.startswith("model_path: ")
    return caught.value


@BOTH
def test_a_file_in_an_allowed_directory(check: Check, inside: Path, outside: Path) -> None:
    assert check(str(inside / "model"), [str(outside), str(inside)], WHERE) == inside / "model"
    assert check(str(inside / "model"), ["/"], WHERE) == inside / "model"


@BOTH
def test_a_file_outside(check: Check, inside: Path, outside: Path) -> None:
    error = refused(check, PermissionDenied, outside / "secret", inside)
    assert error.data["allowed"] == [str(inside)]
    assert "allowed_directories" in error.message or "writable_directories" in error.message
    refused(check, PermissionDenied, inside / "model")


@BOTH
def test_dots_do_not_lead_outside(check: Check, inside: Path, outside: Path) -> None:
    refused(check, PermissionDenied, f"{inside}/../outside/secret", inside)
    assert check(f"{inside}/../inside/./model", [str(inside)], WHERE) == inside / "model"


@BOTH
def test_a_directory_whose_name_begins_the_same_is_another(check: Check, inside: Path, tmp_path: Path) -> None:
    beside = tmp_path / "inside-out"
    beside.mkdir()
    (beside / "model").touch()
    refused(check, PermissionDenied, beside / "model", inside)


@BOTH
def test_links_are_followed_before_the_decision(check: Check, inside: Path, outside: Path) -> None:
    (inside / "link").symlink_to(outside / "secret")
    (inside / "directory").symlink_to(outside)
    refused(check, PermissionDenied, inside / "link", inside)
    refused(check, PermissionDenied, inside / "directory" / "secret", inside)
    (outside / "back").symlink_to(inside / "model")
    assert check(str(outside / "back"), [str(inside)], WHERE) == inside / "model"


@BOTH
def test_the_allowed_directory_may_be_a_link_itself(check: Check, inside: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(inside)
    assert check(str(tmp_path / "models" / "model"), [str(tmp_path / "models")], WHERE) == inside / "model"


@BOTH
def test_a_loop_of_links(check: Check, inside: Path) -> None:
    (inside / "a").symlink_to(inside / "b")
    (inside / "b").symlink_to(inside / "a")
    refused(check, InvalidParams, inside / "a", inside)


@BOTH
@pytest.mark.parametrize("given", ["model", "./model", "", "~/model", "../model"])
def test_a_relative_path(check: Check, given: str) -> None:
    assert refused(check, InvalidParams, given, Path("/")).data["keyword"] == "absolute"


@BOTH
def test_a_nul_character(check: Check) -> None:
    assert refused(check, InvalidParams, "/tmp/a\0b", Path("/")).data["keyword"] == "pattern"


@BOTH
@pytest.mark.parametrize("start", ["/", "x", "\0", "/\0"])
def test_a_path_that_is_too_long_is_not_repeated(check: Check, start: str) -> None:
    error = refused(check, InvalidParams, start + "x" * 10**6, Path("/"))
    assert (error.data["keyword"], error.data["limit"]) == ("maxLength", 4095)
    assert len(error.message) < 100


@BOTH
def test_the_length_counts_bytes(check: Check) -> None:
    assert refused(check, InvalidParams, "/" + "ä" * 2048, Path("/")).data["keyword"] == "maxLength"
    assert refused(check, InvalidParams, "/" + "ä/" * 1000 + "x", Path("/")).data["keyword"] == "file"


@BOTH
def test_a_name_that_is_too_long(check: Check, inside: Path) -> None:
    error = refused(check, InvalidParams, inside / ("x" * 256), inside)
    assert "File name too long" in error.message


@BOTH
def test_a_directory_is_no_file(check: Check, inside: Path) -> None:
    assert "is not a regular file" in refused(check, InvalidParams, inside, inside).message


@BOTH
def test_a_fifo_is_no_file(check: Check, inside: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(inside / "fifo")
    assert "is not a regular file" in refused(check, InvalidParams, inside / "fifo", inside).message


@BOTH
def test_a_file_is_no_directory(check: Check, inside: Path) -> None:
    assert "Not a directory" in refused(check, InvalidParams, inside / "model" / "x", inside).message


def test_a_file_to_read_must_exist(inside: Path) -> None:
    assert "there is no such file" in refused(readable_file, InvalidParams, inside / "no", inside).message
    (inside / "dangling").symlink_to(inside / "no")
    refused(readable_file, InvalidParams, inside / "dangling", inside)


def test_a_file_to_write_need_not_exist_but_its_directory(inside: Path) -> None:
    assert writable_file(str(inside / "new"), [str(inside)], WHERE) == inside / "new"
    assert not (inside / "new").exists()
    assert "there is no directory" in refused(writable_file, InvalidParams, inside / "no" / "new", inside).message


def test_a_dangling_link_is_written_where_it_points(inside: Path, outside: Path) -> None:
    (inside / "good").symlink_to(inside / "new")
    (inside / "bad").symlink_to(outside / "new")
    assert writable_file(str(inside / "good"), [str(inside)], WHERE) == inside / "new"
    refused(writable_file, PermissionDenied, inside / "bad", inside)


def test_what_the_daemons_user_may_not_read_or_write(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may do everything; so the kernel's answer is played."""
    asked: list[tuple[str, int]] = []

    def denied(path: Any, mode: int) -> bool:
        asked.append((os.fspath(path), mode))
        return False

    monkeypatch.setattr(os, "access", denied)
    assert "may not read" in refused(readable_file, PermissionDenied, inside / "model", inside).message
    assert "may not write" in refused(writable_file, PermissionDenied, inside / "model", inside).message
    assert "may not write" in refused(writable_file, PermissionDenied, inside / "new", inside).message
    assert asked == [(str(inside / "model"), os.R_OK), (str(inside / "model"), os.W_OK), (str(inside), os.W_OK)]


@BOTH
def test_a_long_base64_string_is_a_path_too_long(check: Check) -> None:
    with pytest.raises(InvalidParams) as caught:
        check(LongString(bytearray(1 << 16)), ["/"], WHERE)
    assert caught.value.data == {"path": WHERE, "keyword": "maxLength", "limit": 4095}


@BOTH
def test_what_is_the_daemons_own_is_nobody_elses(
    check: Check, inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "_private", [])
    private = inside / "store"
    private.mkdir()
    (private / "file").touch()
    (inside / "link").symlink_to(private)
    paths.keep_private(str(private))
    for path in (private / "file", inside / "link" / "file", inside / "link" / ".." / "store" / "file"):
        refused(check, PermissionDenied, str(path), inside)
    assert check(str(inside / "model"), [str(inside)], WHERE)


def test_a_client_learns_nothing_of_what_is_closed_to_it(tmp_path: Path) -> None:
    stranger = Viewer(54_321, frozenset(), (str(tmp_path / "shown"),))
    inside = tmp_path / "shown" / ".." / "closed"
    for name in ("shown", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").touch()
    tmp_path.chmod(0o711)
    inside.chmod(0o700)
    said: set[tuple[str, ...]] = set()
    for name in ("model", "nothing", "model/below", "../outside"):
        for check in (readable_file, writable_file):
            with pytest.raises(PermissionDenied) as caught:
                check(f"{inside}/{name}", [str(tmp_path)], WHERE, viewer=stranger)
            said.add((caught.value.message.replace(f"{inside}/{name}", "PATH"), *sorted(caught.value.data)))
    assert len(said) == 1, said
    shown = tmp_path / "shown"
    assert readable_file(str(shown / "model"), [str(shown)], WHERE, viewer=stranger) == shown / "model"
    with pytest.raises(InvalidParams, match="there is no such file"):
        readable_file(str(shown / "nothing"), [str(shown)], WHERE, viewer=stranger)


def test_what_is_outside_gets_one_answer_whether_it_is_there_or_not(inside: Path, outside: Path) -> None:
    said = set()
    for viewer in (None, Viewer(os.geteuid(), frozenset())):
        for name in ("secret", "nothing", "."):
            with pytest.raises(PermissionDenied, match="outside the directories") as caught:
                readable_file(f"{outside}/{name}", [str(inside)], WHERE, viewer=viewer)
            said.add(caught.value.message.replace(f"{outside}/{name}", "PATH"))
    assert len(said) == 1


def test_a_directory_to_read_is_one(inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert readable_directory(f"{inside}/", [str(inside)], WHERE) == inside
    refused(readable_directory, InvalidParams, inside / "model", inside)
    refused(readable_directory, InvalidParams, inside / "absent", inside)
    refused(readable_directory, PermissionDenied, outside, inside)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    refused(readable_directory, PermissionDenied, inside, inside)
