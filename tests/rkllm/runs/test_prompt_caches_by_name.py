"""A bare name in prompt_cache_path: saved by a run, loaded again, refused where it does not fit, seen and dropped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.rkllm.board import Board
from tests.wire_connection import Wire

pytestmark = pytest.mark.parametrize("version", ["1.3.0"])
PROMPT = "You are kind. Who are you?"


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def board(version: str, new_board: Callable[..., Board], caches: Path) -> Board:
    """Return a daemon with a cache directory of its own and a loaded model."""
    found = new_board(version, "--cache-directory", str(caches), "--max-models", "2")
    found.load(max_new_tokens=0)
    return found


def saving(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": name},
        **fields,
    }


def kept(board: Board) -> list[dict[str, Any]]:
    return list(board.result("server.prompt_caches")["prompt_caches"])


def names(board: Board) -> list[str]:
    return [cache["name"] for cache in kept(board)]


def folder_of(caches: Path) -> Path:
    return caches / "prompts" / str(os.getuid())


def load(board: Board, name: str) -> Any:
    return board.result("rkllm.load_prompt_cache", {"prompt_cache_path": name})


def test_a_named_cache_is_saved_and_loaded(board: Board, caches: Path) -> None:
    result = board.result("rkllm.run", saving("assistant"))
    assert result["prompt_cache"] == {"name": "assistant", "saved": True}
    assert (folder_of(caches) / "assistant.cache").read_text() == PROMPT
    assert load(board, "assistant") == {"success": True, "status": 0, "prompt_cache_path": "assistant"}
    run = board.result("rkllm.run", {"prompt": "You are kind. What is this?"})
    assert run["perf"]["prefill_tokens"] == len("at is this?")
    assert "prompt_cache" not in run
    (cache,) = kept(board)
    assert 0 <= cache.pop("used_s") <= cache.pop("saved_s")
    assert cache == {
        "name": "assistant",
        "model_path": str(board.model),
        "lora_adapter_name": None,
        "size_bytes": len(PROMPT),
        "loaded": True,
    }
    board.result("rkllm.release_prompt_cache")
    assert [cache["loaded"] for cache in kept(board)] == [False]


def test_a_stream_says_in_its_final_result_what_was_saved(board: Board) -> None:
    board.wire.request("rkllm.run_async", saving("a"), "stream")
    *partials, last = board.wire.until_final("stream")
    assert partials
    assert all("prompt_cache" not in message["result"] for message in partials)
    assert last["result"]["prompt_cache"] == {"name": "a", "saved": True}


def test_saving_and_loading_in_one_go(board: Board) -> None:
    board.script(text="ab", repeat=1000, pace_us=200)
    board.wire.request("rkllm.run", saving("a"), "run")
    board.wire.request("rkllm.load_prompt_cache", ["a"], "load")
    board.wire.request("rkllm.release_prompt_cache", None, "release")
    board.wire.request("rkllm.run", saving("a"), "again")
    board.wire.request("server.drop_prompt_cache", ["a"], "drop")
    assert board.wire.final("run")["result"]["prompt_cache"]["saved"] is True
    assert board.wire.final("load")["result"]["success"] is True
    assert board.wire.final("release")["result"]["success"] is True
    assert board.wire.final("again")["result"]["prompt_cache"]["saved"] is True
    assert board.wire.final("drop")["result"] == {"dropped": True, "name": "a", "size_bytes": len(PROMPT)}
    assert names(board) == []


@pytest.mark.parametrize("name", [".", "..", ".a", "a b", "ä", "x" * 101, "a\n"])
def test_what_is_no_name_is_refused_before_c(board: Board, caches: Path, name: str) -> None:
    error = board.refused("rkllm.run", saving(name))
    assert (error["code"], error["keyword"]) == (-32602, "pattern")
    assert error["path"] == "$.prompt_cache_params.prompt_cache_path"
    error = board.refused("rkllm.load_prompt_cache", {"prompt_cache_path": name})
    assert (error["code"], error["keyword"], error["path"]) == (-32602, "pattern", "$.prompt_cache_path")
    error = board.refused("server.drop_prompt_cache", {"name": name})
    assert (error["code"], error["keyword"], error["path"]) == (-32602, "pattern", "$.name")
    assert list(caches.iterdir()) == []


def test_an_unknown_name_is_refused_with_those_there_are(board: Board) -> None:
    board.result("rkllm.run", saving("first"))
    board.result("rkllm.run", saving("second"))
    error = board.refused("rkllm.load_prompt_cache", ["third"])
    assert (error["code"], error["keyword"], error["known"]) == (-32602, "unknown", ["second", "first"])
    error = board.refused("server.drop_prompt_cache", ["third"])
    assert (error["code"], error["keyword"], error["known"]) == (-32602, "unknown", ["second", "first"])


def test_a_cache_of_a_changed_model_is_refused(board: Board) -> None:
    board.result("rkllm.run", saving("a"))
    board.result("rkllm.destroy")
    board.model.write_bytes(b"SIMMODEL, converted anew")
    board.load()
    error = board.refused("rkllm.load_prompt_cache", {"prompt_cache_path": "a"})
    assert (error["code"], error["kind"], error["keyword"]) == (-32602, "InvalidParams", "fingerprint")
    assert {item["what"] for item in error["differences"]} == {"model_bytes", "model_modified_ns", "model_sha256"}
    assert "a model file with other contents" in error["message"]
    assert board.result("rkllm.run", saving("a"))["prompt_cache"]["saved"] is True
    load(board, "a")


def test_the_model_that_counts_is_the_one_that_was_loaded(board: Board) -> None:
    board.result("rkllm.run", saving("a"))
    content = board.model.stat()
    board.model.write_bytes(b"SIMMODEL, the next version")  # beside the one in memory
    load(board, "a")
    assert content.st_size != board.model.stat().st_size


@pytest.mark.parametrize(
    ("param", "what"),
    [({"max_context_len": 2048}, "max_context_len"), ({"extend_param": {"n_batch": 2}}, "n_batch")],
)
def test_a_cache_of_a_model_that_is_loaded_otherwise_is_refused(board: Board, param: dict[str, Any], what: str) -> None:
    board.result("rkllm.run", saving("a"))
    board.result("rkllm.destroy")
    board.load(**param)
    error = board.refused("rkllm.load_prompt_cache", ["a"])
    assert [item["what"] for item in error["differences"]] == [what]
    assert f"another {what}" in error["message"]


def test_a_cache_of_another_runtime_is_refused(
    board: Board, start: Callable[..., Daemon], caches: Path, tmp_path: Path
) -> None:
    board.result("rkllm.run", saving("a"))
    board.stop()
    daemon = start("--cache-directory", str(caches), version="1.2.3")
    with daemon.connect() as wire:
        wire.ask("rkllm.init", {"model_path": str(board.model), "max_new_tokens": 0})
        error = wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": "a"})["error"]
        assert {item["what"] for item in error["data"]["differences"]} == {"runtime", "runtime_sha256", "layout"}
        assert "another runtime (simulator 1.3.0, now simulator 1.2.3)" in error["message"]
    assert daemon.calls("rkllm_load_prompt_cache") == 0


def test_a_cache_survives_the_daemon(board: Board, start: Callable[..., Daemon], caches: Path) -> None:
    board.result("rkllm.run", saving("a"))
    half = caches / "prompts" / "rkllmd-writing-1"
    half.mkdir(mode=0o700)
    (half / "b").write_text("half")
    board.stop()
    daemon = start("--cache-directory", str(caches))
    with daemon.connect() as wire:
        wire.ask("rkllm.init", {"model_path": str(board.model), "max_new_tokens": 0})
        assert wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": "a"})["result"]["success"] is True
    assert {path.name for path in caches.rglob("*") if path.is_file()} == {"a.cache", "a.json"}


def test_a_cache_made_with_an_adapter_needs_that_adapter(board: Board) -> None:
    path = board.file("poet.rkllm", b"adapter")
    board.result("rkllm.load_lora", [{"lora_adapter_path": path}])
    board.result("rkllm.run", saving("a", lora_params={"lora_adapter_name": "poet"}))
    assert kept(board)[0]["lora_adapter_name"] == "poet"
    load(board, "a")
    board.result("rkllm.destroy")
    board.load(max_new_tokens=0)
    error = board.refused("rkllm.load_prompt_cache", ["a"])
    assert error["keyword"] == "fingerprint"
    assert f"the LoRA adapter {path}, which is not loaded" in error["message"]
    Path(path).write_bytes(b"another")
    board.result("rkllm.load_lora", [{"lora_adapter_path": path}])
    error = board.refused("rkllm.load_prompt_cache", ["a"])
    assert "a LoRA adapter with other contents" in error["message"]


def test_an_adapter_that_went_while_the_call_waited_is_refused(board: Board) -> None:
    path = board.file("gone.rkllm")
    board.start_endless_run(board.wire)
    with board.connect() as other:
        other.request("rkllm.load_lora", [{"lora_adapter_path": path}], "lora")
        other.ask("server.queue", None, "asked")
        Path(path).unlink()
        board.wire.request("server.cancel", {"id": "endless"}, "cancel")
        error = other.final("lora")["error"]
    assert (error["data"]["keyword"], error["data"]["path"]) == ("file", "$[0].lora_adapter_path")
    board.wire.final("endless")


# -- runs that do not end well ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fail", "error"])
def test_a_run_that_fails_leaves_nothing(board: Board, caches: Path, how: str) -> None:
    board.result("rkllm.run", saving("a"))
    before = (folder_of(caches) / "a.cache").stat()
    board.script(run=how)
    assert board.error("rkllm.run", saving("a"))["data"]["kind"] == "RuntimeError"
    assert board.error("rkllm.run", saving("b"))["data"]["kind"] == "RuntimeError"
    assert {path.name for path in folder_of(caches).iterdir()} == {"a.cache", "a.json"}
    assert (folder_of(caches) / "a.cache").stat().st_ino == before.st_ino
    assert names(board) == ["a"]


def test_a_run_that_is_cancelled_keeps_what_was_whole(board: Board) -> None:
    board.script(text="abcd", repeat=1_000_000, pace_us=1000)
    board.wire.request("rkllm.run_async", saving("a"), "run")
    assert board.wire.receive()["result"]["_callback_state"] == 0, "the prompt was read"
    board.wire.request("server.cancel", {"id": "run"}, "cancel")
    result = board.wire.final("run")["result"]
    assert (result["finish_reason"], result["prompt_cache"]["saved"]) == ("abort", True)


def test_a_run_that_is_cancelled_before_its_first_token_keeps_nothing(board: Board, caches: Path) -> None:
    board.script(text="abcd", repeat=1_000_000, prefill_ms=60_000, prefill_abort=1)
    board.wire.request("rkllm.run", saving("a"), "run")
    board.daemon.wait_enter("rkllm_run")
    board.wire.request("server.cancel", {"id": "run"}, "cancel")
    result = board.wire.final("run")["result"]
    assert result["prompt_cache"] == {
        "name": "a",
        "saved": False,
        "reason": "The run ended before the prompt was read.",
    }
    assert list((caches / "prompts").rglob("*")) == []


def test_what_is_larger_than_the_limit_is_said_in_the_result(
    version: str, new_board: Callable[..., Board], caches: Path
) -> None:
    board = new_board(version, "--cache-directory", str(caches), "--cache-bytes", str(2**20))
    board.load(max_context_len=8192)
    result = board.result("rkllm.run", {**saving("a"), "prompt": "x" * (2**20 + 1), "max_new_tokens": 1})
    assert result["prompt_cache"]["saved"] is False
    assert f"cache_bytes ({2**20})" in result["prompt_cache"]["reason"]
    for name in "bcd":
        board.result("rkllm.run", {**saving(name), "prompt": "x" * (2**19), "max_new_tokens": 1})
    assert names(board) == ["d", "c"], "the least recently used went"
    found = board.result("server.prompt_caches")
    assert (found["total_bytes"], found["limit_bytes"], found["unavailable"]) == (2**20, 2**20, None)


def test_the_limit_is_taken_over_by_a_reload(
    version: str, new_board: Callable[..., Board], caches: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text(f"cache_bytes = {2**21}\n")
    board = new_board(version, "--config", str(file), "--cache-directory", str(caches))
    assert board.result("server.prompt_caches")["limit_bytes"] == 2**21
    file.write_text(f"cache_bytes = {2**22}\n")
    board.daemon.process.send_signal(signal.SIGHUP)
    board.daemon.wait_event("reloaded")
    assert board.result("server.prompt_caches")["limit_bytes"] == 2**22


# -- loaded ones, other people's, and paths ---------------------------------------------------------------------------


def test_a_loaded_cache_is_neither_replaced_nor_dropped(board: Board) -> None:
    board.result("rkllm.run", saving("a"))
    load(board, "a")
    error = board.refused("rkllm.run", saving("a"))
    assert (error["code"], error["keyword"]) == (-32602, "loaded")
    error = board.refused("server.drop_prompt_cache", {"name": "a"})
    assert (error["code"], error["keyword"], error["path"]) == (-32602, "loaded", "$.name")
    board.result("rkllm.destroy")
    assert board.result("server.drop_prompt_cache", {"name": "a"})["dropped"] is True


def test_a_cache_that_c_refuses_does_not_count_as_loaded(board: Board) -> None:
    board.result("rkllm.run", saving("a"))
    board.result("rkllm.run", saving("b"))
    load(board, "a")
    assert board.error("rkllm.load_prompt_cache", ["b"])["data"]["kind"] == "RuntimeError"
    assert {cache["name"]: cache["loaded"] for cache in kept(board)} == {"a": True, "b": False}


def test_absolute_paths_into_the_directory_are_refused(board: Board, caches: Path) -> None:
    board.result("rkllm.run", saving("a"))
    for path in (folder_of(caches) / "a.cache", caches / "prompts" / "0" / ".." / str(os.getuid()) / "a.cache"):
        error = board.refused("rkllm.load_prompt_cache", [str(path)])
        assert (error["code"], error["kind"]) == (-32009, "PermissionDenied")
        error = board.refused("rkllm.run", saving(str(path)))
        assert (error["code"], error["kind"]) == (-32009, "PermissionDenied")


def test_without_a_directory_a_name_is_refused(version: str, new_board: Callable[..., Board], tmp_path: Path) -> None:
    board = new_board(version, "--cache-directory", str(tmp_path / "none"))
    board.load()
    for method, params in (
        ("rkllm.run", saving("a")),
        ("rkllm.load_prompt_cache", {"prompt_cache_path": "a"}),
        ("server.drop_prompt_cache", {"name": "a"}),
    ):
        error = board.refused(method, params)
        assert (error["code"], error["setting"]) == (-32009, "cache_directory")
        assert str(tmp_path / "none") in error["message"]
    assert kept(board) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_has_names_of_its_own(
    version: str, new_board: Callable[..., Board], caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user may load a prompt cache into the model only where everybody may.
    board = new_board(version, "--cache-directory", str(caches), "--authority", "everybody")
    board.load()
    board.result("rkllm.run", saving("a"))
    os.chmod(board.daemon.path, 0o666)
    monkeypatch.chdir(Path(board.daemon.path).parent)  # the folders above are closed to others
    os.seteuid(65534)
    try:
        other = Wire("rkllm.sock")
    finally:
        os.seteuid(0)
    with other:
        assert other.ask("server.prompt_caches")["result"]["prompt_caches"] == []
        for method in ("rkllm.load_prompt_cache", "server.drop_prompt_cache"):
            data = other.ask(method, ["a"])["error"]["data"]
            assert (data["keyword"], data["known"]) == ("unknown", [])
        other.ask("rkllm.run", saving("b"))
        (theirs,) = other.ask("server.prompt_caches")["result"]["prompt_caches"]
        assert theirs["name"] == "b"
    assert names(board) == ["a"]
