"""What was loaded when the daemon crashed is loaded again, at once and as it was; unless its load is what crashed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.daemon import Daemon
from tests.language.models.loads import DRESSED, WITH_LORA, dress, models, say
from tests.wire_connection import Wire, kind

Start = Callable[..., Daemon]


def started(start: Start, tmp_path: Path, *arguments: str, **scenario: object) -> Daemon:
    for name in ("state", "caches"):
        (tmp_path / name).mkdir(mode=0o700)
    own = ["--state-directory", str(tmp_path / "state"), "--cache-directory", str(tmp_path / "caches")]
    own += ["--max-models", "3"]
    return start(*own, *arguments, keeper=True, scenario=scenario, changing=True)


def kill(wire: Wire, number: int = signal.SIGSEGV) -> None:
    """Have the daemon crash, and wait until it has."""
    os.kill(wire.ask("server.status")["result"]["daemon_pid"], number)
    assert wire.receive() is None


def test_models_come_back_with_all_that_was_set(start: Start, tmp_path: Path) -> None:
    daemon = started(start, tmp_path)
    plain, dressed = daemon.load(top_k=2), daemon.load(top_k=3)
    saving = {"prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": "greeting"}}
    with daemon.connect() as wire:
        dress(daemon, wire, dressed)
        assert say(wire, handle=plain, rkllm_infer_params=saving)
        assert "result" in wire.ask("rkllm.load_prompt_cache", [plain, "greeting"])
        before = [(item["handle"], item["base_domain_id"], item["lora_adapters"]) for item in models(wire)]
        kill(wire)
    with daemon.connect() as wire:
        assert say(wire, handle=dressed, **WITH_LORA) == DRESSED
        assert say(wire, handle=plain) != DRESSED
        after = models(wire)
        assert {item["state"] for item in after} == {"loaded"}
        assert [(item["handle"], item["base_domain_id"], item["lora_adapters"]) for item in after] == before
        (cache,) = wire.ask("server.prompt_caches")["result"]["prompt_caches"]
        assert (cache["name"], cache["loaded"]) == ("greeting", True)
        assert "result" in wire.ask("rkllm.release_prompt_cache", [plain])
    assert daemon.calls("rkllm_init") == 4
    assert daemon.calls("rkllm_load_prompt_cache") == 2
    assert daemon.stop() == 0


def test_they_are_loaded_though_nobody_asks_and_instant_calls_are_answered_meanwhile(
    start: Start, tmp_path: Path
) -> None:
    daemon = started(start, tmp_path)
    handle = daemon.load()
    daemon.play(hold__rkllm_init=1)
    with daemon.connect() as wire:
        kill(wire)
    daemon.wait_enter("rkllm_init", 2)
    with daemon.connect() as wire:
        assert [(item["handle"], item["state"]) for item in models(wire)] == [(handle, "asleep")]
        wire.request("rkllm.run", {"prompt": "Hi"}, 7)
        daemon.let_go()
        assert "result" in wire.final(7)


def test_one_whose_load_crashes_is_not_loaded_again_by_itself(start: Start, tmp_path: Path) -> None:
    daemon = started(start, tmp_path)
    first, second = daemon.load(top_k=2), daemon.load(top_k=3)
    ticket = tmp_path / "ticket"
    ticket.touch()
    daemon.play(init="segfault", fault_ticket=str(ticket))
    with daemon.connect() as wire:
        kill(wire)
    daemon.wait_event("crashed", 2)
    with daemon.connect() as wire:
        assert say(wire, handle=second)
        states = {item["handle"]: item["state"] for item in models(wire)}
        assert states == {first: "asleep", second: "loaded"}
        assert say(wire, handle=first), "who calls it has it loaded"


def test_what_was_unloaded_or_slept_does_not_come_back_loaded(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "rkllmd.toml"
    config.write_text("model_idle_minutes = 0.005\n")
    daemon = started(start, tmp_path, "--config", str(config))
    handle, gone = daemon.load(top_k=2), daemon.load(top_k=3)
    with daemon.connect() as wire:
        wire.ask("rkllm.destroy", [gone])
        daemon.wait_event("model_asleep")
        kill(wire)
    with daemon.connect() as wire:
        assert [(item["handle"], item["state"]) for item in models(wire)] == [(handle, "asleep")]
        assert say(wire, handle=handle)


def test_after_an_orderly_stop_nothing_comes_back(start: Start, tmp_path: Path) -> None:
    daemon = started(start, tmp_path)
    daemon.load()
    daemon.stop()
    again = start("--state-directory", str(tmp_path / "state"), directory=daemon.directory, keeper=True)
    with again.connect() as wire:
        assert models(wire) == []
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi"})) == "ModelNotInitialized"


def test_an_id_of_a_handle_is_not_given_to_another(start: Start, tmp_path: Path) -> None:
    daemon = started(start, tmp_path)
    handle = daemon.load(top_k=2)
    with daemon.connect() as wire:
        kill(wire)
    assert daemon.load(top_k=3) > handle
