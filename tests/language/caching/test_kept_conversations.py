"""Conversations that take turns on the portable runtime: where they are meanwhile, and what a restart leaves."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.daemon import Daemon, Start, until
from tests.server.conversations.talking import Talk, say
from tests.wire_connection import Wire

QUESTIONS = ("What is an NPU?", "Tell me a story.")


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    folder = tmp_path / "caches"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(start: Start, tmp_path: Path, caches: Path) -> Callable[..., Daemon]:
    """Start a daemon that keeps its caches in the same directory as the one before."""

    def begin(*arguments: str) -> Daemon:
        own = ("--cache-directory", str(caches))
        return start("--model", "demo", *own, *arguments, runtime="portable", directory=tmp_path / "place")

    return begin


def files_of(caches: Path) -> list[Path]:
    return list(caches.glob("prompts/session-*/*.cache"))


def take_turns(wire: Wire) -> list[Talk]:
    talks = [Talk(wire, f"You are number {number}.") for number in range(3)]
    for question in QUESTIONS:
        for talk in talks:
            talk.ask(question)
    return talks


def is_known(talk: Talk, **params: Any) -> bool:
    """Return whether most of a conversation need not be read for its next turn."""
    result = talk.ask("Write a haiku.", **params)
    return bool(result["cached_tokens"] > result["prompt_tokens"] / 2)


def test_they_come_back_from_memory_without_a_directory(start: Start) -> None:
    daemon = start("--model", "demo", "--cache-directory", "", runtime="portable")
    with daemon.connect() as wire:
        assert all(is_known(talk) for talk in take_turns(wire))


def test_without_memory_they_come_back_from_files(serve: Callable[..., Daemon], caches: Path) -> None:
    daemon = serve("--session-memory-bytes", "0")
    with daemon.connect() as wire:
        talks = take_turns(wire)
        assert len(files_of(caches)) == 3, "the third one has the model, and a file of its beginning"
        assert all(is_known(talk) for talk in talks)


def test_one_that_goes_on_takes_the_place_of_its_beginning(serve: Callable[..., Daemon], caches: Path) -> None:
    daemon = serve()
    with daemon.connect() as wire:
        take_turns(wire)
        wire.ask("rkllm.destroy")
    assert len(files_of(caches)) == 3


def test_their_memory_is_given_back_before_another_model_is_loaded(serve: Callable[..., Daemon], caches: Path) -> None:
    daemon = serve("--max-models", "2")
    with daemon.connect() as wire:
        talks = take_turns(wire)
        assert "result" in wire.ask("rkllm.init", {"model_path": str(DEMO_MODEL), "max_context_len": 512})
        assert len(files_of(caches)) == 3
        assert is_known(talks[0], handle=1)


def test_a_restart_leaves_them(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    with daemon.connect() as wire:
        talks = take_turns(wire)
    daemon.stop()
    with serve().connect() as wire:
        for talk in reversed(talks):  # the last one had the model
            talk.wire = wire
            assert is_known(talk)


@pytest.mark.parametrize("how", ["asleep", "destroyed", "replaced"])
def test_the_one_that_has_the_model_comes_back_with_it(serve: Callable[..., Daemon], how: str) -> None:
    daemon = serve(*(("--model-idle-minutes", "0.001") if how == "asleep" else ()))
    load = {"model_path": "demo", "replace": how == "replaced"}
    with daemon.connect() as wire:
        talk = Talk(wire, "You are brief.")
        for question in QUESTIONS:
            talk.ask(question)
        if how == "asleep":
            until("it sleeps", lambda: wire.ask("server.status")["result"]["models"][0]["state"] == "asleep")
        if how == "destroyed":
            wire.ask("rkllm.destroy")
        if how != "asleep":
            assert "result" in wire.ask("rkllm.init", load)
        assert is_known(talk)


def test_where_no_file_can_be_written_models_are_unloaded_all_the_same(
    serve: Callable[..., Daemon], caches: Path
) -> None:
    daemon = serve()
    shutil.rmtree(caches / "prompts", ignore_errors=True)
    (caches / "prompts").touch()
    with daemon.connect() as wire:
        for is_last in (False, True):
            talk = Talk(wire, "You are brief.")
            for question in QUESTIONS:
                talk.ask(question)
            if not is_last:
                assert "result" in wire.ask("rkllm.destroy")
                assert "result" in wire.ask("rkllm.init", {"model_path": "demo"})
    assert daemon.stop() == 0
    assert "model_not_unloaded" not in daemon.log()


def test_one_of_a_session_is_not_written_at_the_end(serve: Callable[..., Daemon], caches: Path) -> None:
    daemon = serve()
    with daemon.connect() as wire:
        for question in QUESTIONS:
            assert say(wire, "kitchen", question * 5)["session"]["name"] == "kitchen"
    daemon.stop()
    assert files_of(caches) == []


def test_a_crash_leaves_those_that_were_out_of_turn_for_a_while(serve: Callable[..., Daemon]) -> None:
    daemon = serve()
    with daemon.connect() as wire:
        first, second, _ = take_turns(wire)
        daemon.wait_event("prompt_cache_saved", 3)  # of the third one, which has the model, an earlier state
    daemon.stop(signal.SIGKILL)
    with serve().connect() as wire:
        for talk in (first, second):
            talk.wire = wire
            assert is_known(talk)


def test_a_damaged_file_is_not_used(serve: Callable[..., Daemon], caches: Path) -> None:
    """The daemon looks at both ends of a file, the runtime at all of it."""
    daemon = serve("--session-memory-bytes", "0")
    with daemon.connect() as wire:
        talks = take_turns(wire)
        for path in files_of(caches):
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        assert [is_known(talk) for talk in talks[:2]] == [False, False]
