"""Loading in the place of another, and what stays behind of a model that was unloaded."""

from __future__ import annotations

import ctypes
import gc
import signal
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.calls.handles import Handles
from rkllmd.errors import OutOfMemory, RuntimeFailure
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.model import Model
from rkllmd.language.models import loading
from rkllmd.language.out_of_turn.states import States
from rkllmd.language.prompt_caches.store import PromptCaches
from rkllmd.language.remembered import RememberedModels
from rkllmd.machine.memory.guard import Demand, Footprints, MemoryGuard
from tests.daemon import Start
from tests.language.models.loads import DRESSED, WITH_LORA, dress, init, models, say
from tests.wire_connection import kind

# --------------------------------------------------------------------------------------------------------------------
# replace


def test_replace_loads_in_the_place_of_what_is_loaded(start: Start) -> None:
    daemon = start()
    with daemon.connect() as wire:
        first = daemon.load()
        answer = init(daemon, wire, replace=True)["result"]
        assert answer["replaced"] == [first]
        assert [model["handle"] for model in models(wire)] == [answer["handle"]]
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi", "handle": first})) == "InvalidHandle"
        assert say(wire) == "[user] Hi"
    order = [line[3] for line in daemon.trace() if line[2] == "enter" and line[3] in ("rkllm_init", "rkllm_destroy")]
    assert order[:3] == ["rkllm_init", "rkllm_destroy", "rkllm_init"]


def test_replace_without_anything_loaded_is_a_load(start: Start) -> None:
    daemon = start()
    with daemon.connect() as wire:
        assert "replaced" not in init(daemon, wire, replace=True)["result"]
        assert kind(init(daemon, wire, replace=False, top_k=7)) == "ModelAlreadyLoaded"
        assert kind(init(daemon, wire, replace=None, top_k=7)) == "ModelAlreadyLoaded"


def test_a_call_without_a_handle_that_waits_behind_it_is_for_the_new_model(start: Start) -> None:
    daemon = start(changing=True)
    daemon.load()
    daemon.play(delay__rkllm_init=300)
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model), "replace": True}, "load")
        wire.request("rkllm.run", {"prompt": "Hi"}, "run")
        handle = wire.final("load")["result"]["handle"]
        assert wire.final("run")["result"]["text"] == "[user] Hi"
        assert [model["handle"] for model in models(wire)] == [handle]


def test_of_several_models_a_handle_says_which_one_leaves(start: Start) -> None:
    daemon = start("--max-models", "2")
    with daemon.connect() as wire:
        first, second = daemon.load(), daemon.load()
        refused = init(daemon, wire, replace=second + 100)
        assert kind(refused) == "InvalidHandle"
        third = init(daemon, wire, replace=first)["result"]["handle"]
        assert [(model["handle"], model["base_domain_id"]) for model in models(wire)] == [(second, 1), (third, 0)]


def test_a_load_that_fails_brings_the_old_model_back_as_it_was(start: Start) -> None:
    daemon = start(scenario={"init": "fail@2"})
    with daemon.connect() as wire:
        handle = daemon.load()
        dress(daemon, wire, handle)
        assert say(wire, **WITH_LORA) == DRESSED
        error = init(daemon, wire, replace=True)["error"]
        assert (error["data"]["kind"], error["data"]["function"]) == ("RuntimeError", "rkllm_init")
        assert error["data"]["restored"] == [handle]
        assert "lost" not in error["data"]
        assert say(wire, handle=handle, **WITH_LORA) == DRESSED
        assert models(wire)[0]["lora_adapters"] == ["coding"]
    assert daemon.calls("rkllm_init") == 3


def test_what_waited_for_the_old_model_is_served_when_it_is_back(start: Start) -> None:
    daemon = start(changing=True)
    handle = daemon.load()
    daemon.play(init="fail@2", delay__rkllm_init=2000)
    with daemon.connect() as wire, daemon.connect() as other:
        wire.request("rkllm.init", {"model_path": str(daemon.model), "replace": True}, "load")
        daemon.wait_enter("rkllm_init", 2)
        daemon.play()
        other.request("rkllm.run", {"prompt": "Hi", "handle": handle}, "run")
        other.request("rkllm.set_chat_template", {"handle": handle, "system_prompt": "S"}, "ordered")
        asked = other.ask("rkllm.is_running", {"handle": handle}, "asked")["result"]
        assert asked == {"is_running": False, "status_code": None}, "it has no C handle now"
        assert other.ask("rkllm.get_kv_cache_size", {"handle": handle}, "kv")["result"]["cache_sizes"] == [0]
        assert other.ask("rkllm.abort", {"handle": handle}, "abort")["result"]["aborted"] is False
        assert wire.final("load")["error"]["data"]["restored"] == [handle]
        assert other.final("run")["result"]["text"] == "[user] Hi"
        assert "result" in other.final("ordered")


def test_a_model_that_cannot_be_brought_back_is_lost_and_told(start: Start) -> None:
    daemon = start(changing=True)
    handle = daemon.load()
    daemon.play(init="fail")
    with daemon.connect() as wire:
        data = init(daemon, wire, replace=True)["error"]["data"]
        assert (data["restored"], data["lost"]) == ([], [handle])
        assert models(wire) == []
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi", "handle": handle})) == "InvalidHandle"
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi"})) == "ModelNotInitialized"
    (event,) = daemon.events("model_lost")
    assert event["handle"] == handle


def test_a_replacement_that_is_cancelled_brings_the_old_model_back(start: Start) -> None:
    daemon = start(changing=True)
    handle = daemon.load()
    daemon.play(delay__rkllm_init=2000)
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model), "replace": True}, "load")
        daemon.wait_enter("rkllm_init", 2)
        daemon.play()
        assert wire.ask("server.cancel", {"id": "load"}, "cancel")["result"]["cancelled"] is True
        error = wire.final("load")["error"]
        assert (error["data"]["kind"], error["data"]["restored"]) == ("Cancelled", [handle])
        assert say(wire, handle=handle) == "[user] Hi"


def test_files_of_callbacks_are_looked_at_before_anything_is_unloaded(start: Start) -> None:
    daemon = start()
    handle = daemon.load()
    broken = daemon.directory / "tokenizer.json"
    broken.write_text("{}")
    with daemon.connect() as wire:
        error = init(daemon, wire, replace=True, tokenizer_path=str(broken))["error"]
        assert (error["data"]["kind"], error["data"]["path"]) == ("InvalidParams", "$.tokenizer_path")
        assert say(wire, handle=handle) == "[user] Hi"
    assert daemon.calls("rkllm_destroy") == 0


def test_a_conversation_that_is_gone_with_the_unloading_is_told(start: Start) -> None:
    daemon = start(scenario={"init": "fail@2"})
    with daemon.connect() as wire:
        daemon.load()
        turn = {"prompt": "Hi", "keep_history": 1}
        assert "history_reset" not in wire.ask("rkllm.run", turn)["result"]
        init(daemon, wire, replace=True)
        assert wire.ask("rkllm.run", turn)["result"]["history_reset"] is True
        assert "history_reset" not in wire.ask("rkllm.run", turn)["result"]


def test_what_does_not_fit_is_refused_before_anything_is_unloaded(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("memory_reserve_bytes = 0\n")
    daemon = start("--config", str(file))
    handle = daemon.load()
    file.write_text(f"memory_reserve_bytes = {2**40}\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded")
    with daemon.connect() as wire:
        refused = init(daemon, wire, replace=True)
        assert kind(refused) == "OutOfMemory"
        assert "restored" not in refused["error"]["data"]
        assert say(wire, handle=handle) == "[user] Hi"
    assert (daemon.calls("rkllm_init"), daemon.calls("rkllm_destroy")) == (1, 0)


def test_what_the_replaced_give_back_counts() -> None:
    sizes = {"total_bytes": 1000, "available_bytes": 400}
    current: Any = SimpleNamespace(config=SimpleNamespace(memory_reserve_bytes=100))
    platform: Any = SimpleNamespace(memory=lambda: sizes, read=lambda path: None)
    guard = MemoryGuard(current, platform, Footprints())
    guard.check(Demand("m", 600), 300)
    with pytest.raises(OutOfMemory) as caught:
        guard.check(Demand("m", 600), 299)
    assert caught.value.data["given_back_bytes"] == 299
    with pytest.raises(OutOfMemory) as caught:
        guard.check(Demand("m", 600))
    assert "given_back_bytes" not in caught.value.data


# --------------------------------------------------------------------------------------------------------------------
# what stays behind


def test_nothing_of_an_unloaded_model_stays_open(start: Start) -> None:
    daemon = start(changing=True)
    table = daemon.directory / "embedding.bin"
    table.write_bytes(bytes(256 * 8 * 4))

    def load_run_unload(times: int) -> None:
        with daemon.connect() as wire:
            for _ in range(times):
                handle = init(daemon, wire, embedding_path=str(table))["result"]["handle"]
                assert "embed_callback" in say(wire)
                assert "result" in wire.ask("rkllm.destroy", [handle])

    load_run_unload(1)
    files, _ = daemon.settled()
    load_run_unload(12)
    assert daemon.settled()[0] == files
    daemon.play(init="fail")
    with daemon.connect() as wire:
        for _ in range(12):
            assert kind(init(daemon, wire, embedding_path=str(table))) == "RuntimeError"
    assert daemon.settled()[0] == files


def test_what_a_model_holds_stays_if_the_runtime_has_not_unloaded_it() -> None:
    def fail(function: str, *_: Any, **__: Any) -> None:
        raise RuntimeFailure("It failed.", function=function, status=-1, log=[])

    models: Any = Handles("LLM")
    context: Any = SimpleNamespace(runtime=SimpleNamespace(call=fail), models=models, unaware=set())
    context.remembered, context.states = RememberedModels(), States(PromptCaches())
    model: Any = Model.__new__(Model)
    model.number, model.pointer = models.add(model), ctypes.c_void_p(1)
    model.kv_cache = KvCache()
    alive = weakref.ref(model)
    with pytest.raises(RuntimeFailure):
        loading.unload(context, model)
    assert len(models) == 0
    del model
    gc.collect()
    assert alive() is not None, "its callbacks may still be called"
