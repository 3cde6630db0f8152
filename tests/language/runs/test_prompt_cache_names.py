"""What a client's prompt_cache_path means: a path, or a name of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams, PermissionDenied
from rkllmd.language.prompt_caches.saved import SavedCaches
from rkllmd.language.prompt_caches.store import PromptCaches, Saving
from rkllmd.language.runs import prompt_cache_names
from rkllmd.language.runs.run import Run

WHERE = "$.rkllm_infer_params.prompt_cache_params.prompt_cache_path"


def run_of(tmp_path: Path, given: str | None, *, saves: bool = True, user: int | None = 1000) -> Run:
    """Return a run that saves under ``given``; its struct for C has a place for a path."""
    config = SimpleNamespace(
        writable_directories=[str(tmp_path)],
        allowed_directories=["/"],
        cache_directory=str(tmp_path / "caches"),
        state_directory="",
        model_directory="",
        operator_directories=[],
    )
    cache = SimpleNamespace(prompt_cache_path=b"")
    parameters: Any = SimpleNamespace(
        c=SimpleNamespace(prompt_cache_params=SimpleNamespace(contents=cache)),
        json={} if given is None else {"prompt_cache_params": {"save_prompt_cache": saves, "prompt_cache_path": given}},
        path="$.rkllm_infer_params",
    )
    (tmp_path / "caches").mkdir(exist_ok=True)
    language: Any = SimpleNamespace(
        config=config,
        models=[],
        prompt_caches=PromptCaches(str(tmp_path / "caches"), 10**6),
        saved_caches=SavedCaches(),
        runtime=None,
    )
    invocation: Any = SimpleNamespace(client=SimpleNamespace(user=user, groups=frozenset()))
    nothing: Any = None
    return Run(language, invocation, nothing, nothing, parameters)


def path_for_c(run: Run) -> str:
    path: bytes = run.parameters.prompt_cache_params.contents.prompt_cache_path
    return path.decode()


@pytest.mark.parametrize(("given", "is_name"), [("kitchen", True), ("/tmp/a", False), ("a/b", False)])
def test_whatever_has_no_slash_is_a_name(given: str, is_name: bool) -> None:
    assert prompt_cache_names.is_name(given) is is_name


def test_a_name_becomes_a_file_of_the_daemons_own(tmp_path: Path) -> None:
    run = run_of(tmp_path, "kitchen")
    saving = prompt_cache_names.begin_saving(run)
    assert isinstance(saving, Saving)
    assert (saving.owner, saving.name) == ("1000", "kitchen")
    assert path_for_c(run) == str(saving.path)
    assert saving.path.is_relative_to(tmp_path / "caches")
    saving.path.write_bytes(b"half")
    assert prompt_cache_names.keep(run, saving, prefilled=False)["prompt_cache"]["saved"] is False
    prompt_cache_names.discard(run, saving)
    assert not saving.path.exists()


def test_c_writes_a_path_of_the_daemons_own_for_a_clients(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run = run_of(tmp_path, str(tmp_path / "link"))
    saving = prompt_cache_names.begin_saving(run)
    assert saving is not None
    written = Path(path_for_c(run))
    assert (written.name, written.parent.parent) == ("real", tmp_path / "caches" / "prompts")
    assert written.parent.stat().st_mode & 0o777 == 0o700
    written.write_bytes(b"cache")
    said = prompt_cache_names.keep(run, saving, prefilled=True)
    assert said == {"prompt_cache": {"path": str(tmp_path / "link"), "saved": True}}
    prompt_cache_names.discard(run, saving)
    assert (tmp_path / "real").read_bytes() == b"cache"
    assert list((tmp_path / "caches" / "prompts").iterdir()) == []


def test_a_run_that_read_only_a_part_of_its_prompt_leaves_nothing_at_the_path(tmp_path: Path) -> None:
    run = run_of(tmp_path, str(tmp_path / "a"))
    saving = prompt_cache_names.begin_saving(run)
    Path(path_for_c(run)).write_bytes(b"half")
    assert prompt_cache_names.keep(run, saving, prefilled=False)["prompt_cache"]["saved"] is False
    prompt_cache_names.discard(run, saving)
    assert {path.name for path in tmp_path.rglob("*")} == {"caches", "prompts"}


@pytest.mark.parametrize("given", [None, "kitchen", "/nowhere/at/all"])
def test_a_run_that_does_not_save_is_not_asked(tmp_path: Path, given: str | None) -> None:
    run = run_of(tmp_path, given, saves=False)
    prompt_cache_names.check_saving(run)
    assert prompt_cache_names.begin_saving(run) is None
    assert path_for_c(run) == ""


def test_what_is_refused_is_refused_at_its_place(tmp_path: Path) -> None:
    for given in ("..", "a b"):
        with pytest.raises(InvalidParams) as refused:
            prompt_cache_names.check_saving(run_of(tmp_path, given))
        assert refused.value.data["path"] == WHERE
        assert refused.value.message.startswith(f"{WHERE.removeprefix('$.')}: ")
    with pytest.raises(PermissionDenied):
        prompt_cache_names.check_saving(run_of(tmp_path, "/root/a"))
    kept = tmp_path / "caches" / "prompts" / "1000"
    kept.mkdir(parents=True)
    with pytest.raises(PermissionDenied):
        prompt_cache_names.check_saving(run_of(tmp_path, str(kept / "a.cache")))


def test_caches_of_the_daemon_itself_belong_to_no_user() -> None:
    client: Any = SimpleNamespace(user=None)
    assert prompt_cache_names.owner_of(client) == "daemon"
