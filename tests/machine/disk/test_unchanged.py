"""What C opened is what was checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.errors import PermissionDenied, RuntimeFailure
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.disk.unchanged import unchanged


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a").write_bytes(b"model")
    return folder / "a"


def swap_directory(model: Path) -> None:
    elsewhere = model.parent.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"other")
    model.parent.rename(model.parent.with_name("aside"))
    model.parent.symlink_to(elsewhere)


def swap_file(model: Path) -> None:
    other = model.with_name("other")
    other.write_bytes(b"other")
    other.replace(model)


def swap_and_back(model: Path) -> None:
    aside = model.with_name("aside")
    model.rename(aside)
    model.symlink_to("/etc/passwd")
    model.unlink()
    aside.rename(model)


def write(model: Path) -> None:
    with model.open("r+b") as file:
        file.write(b"M")


@pytest.mark.parametrize("change", [swap_directory, swap_file, swap_and_back, write, os.unlink])
def test_what_changes_during_the_call_is_noticed(model: Path, change: Callable[[Path], None]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(PermissionDenied, match="was changed while it was loaded"),
        unchanged([str(model)], [str(model.parents[1])]),
    ):
        change(model)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_that_came_before_the_call_is_not_given_to_c(model: Path) -> None:
    swap_directory(model)
    with pytest.raises(PermissionDenied), unchanged([str(model)], [str(model.parents[1])]):
        pytest.fail("the call was made")


def test_what_stays_is_nothing_to_talk_about(model: Path) -> None:
    with unchanged([str(model), str(model)], [str(model.parents[1])]):
        model.read_bytes()
        model.with_name("beside").touch()


def test_the_calls_own_error_comes_first(model: Path) -> None:
    def call() -> None:
        with unchanged([str(model)], [str(model.parent)]):
            model.unlink()
            raise RuntimeError("of the call")

    with pytest.raises(RuntimeError, match="of the call"):
        call()


def test_where_everything_is_allowed_nothing_leads_out(model: Path) -> None:
    with unchanged([str(model)], ["/"]):
        swap_file(model)


ANNA = 65534


def as_anna(*files: Path) -> dict[str, Viewer]:
    return {str(file): Viewer(ANNA, frozenset()) for file in files}


def test_a_client_is_not_led_to_what_it_may_not_read_where_everything_is_allowed(model: Path) -> None:
    secret = model.with_name("secret")
    secret.write_bytes(b"not Anna's")
    secret.chmod(0o600)

    def lead_away() -> None:  # after the path was followed for her, before C opens it
        model.unlink()
        model.symlink_to(secret)

    with pytest.raises(PermissionDenied), unchanged([str(model)], ["/"], as_anna(model)):
        lead_away()
    with pytest.raises(PermissionDenied), unchanged([str(model)], ["/"], as_anna(model)):
        pytest.fail("the link is there before C is called")
    with pytest.raises(PermissionDenied), unchanged([str(secret)], ["/"], as_anna(secret)):
        pytest.fail("somebody has put another user's file in the place of hers")
    with unchanged([str(model)], ["/"]):  # the daemon for itself
        pass


def test_a_link_that_was_there_before_the_call_is_noticed(model: Path) -> None:
    model.rename(model.with_name("aside"))
    model.symlink_to("/etc/passwd")
    with pytest.raises(PermissionDenied), unchanged([str(model)], [str(model.parent)]):
        pytest.fail("C would follow it out of the directories that the configuration allows")


def test_what_c_says_of_another_file_is_not_told(model: Path) -> None:
    def fail() -> None:
        model.unlink()
        raise RuntimeFailure("C says what the other file has", function="rkllm_init", status=-1, log=[])

    with pytest.raises(PermissionDenied, match="was changed"), unchanged([str(model)], ["/"], as_anna(model)):
        fail()
