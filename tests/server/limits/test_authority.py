"""Two users of one daemon: what one has loaded, the other may use and not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ENDLESS, Daemon, Start
from tests.server.conversations.talking import Talk
from tests.server.limits.users import ANNA, BERTA, Connect, only_root
from tests.wire_connection import Wire, kind

pytestmark = only_root

LORA, CACHE = "adapter.rkllm", "cache"
QUESTION = "Tell me a story. My password is swordfish, and nobody else knows it."
OTHER = "Write a haiku about the street in which I live. That is Elm Street, by the way."


def changes(daemon: Daemon, handle: int) -> dict[str, Any]:
    """Return the methods that change a loaded model, each with parameters that it takes."""
    for name in (LORA, CACHE):
        (daemon.directory / name).write_bytes(b"x")
    lora, cache = str(daemon.directory / LORA), str(daemon.directory / CACHE)
    return {
        "rkllm.set_chat_template": [handle, "", "<", ">"],
        "rkllm.set_function_tools": [handle, "", [{"name": "f"}], "tool"],
        "rkllm.load_lora": {"handle": handle, "lora_adapter_path": lora},
        "rkllm.load_prompt_cache": [handle, cache],
        "rkllm.release_prompt_cache": [handle],
        "rkllm.init": {"model_path": str(daemon.model), "top_k": 5, "replace": handle},
        "rkllm.destroy": [handle],
    }


def refused(wire: Wire, method: str, params: Any) -> dict[str, Any]:
    answer = wire.ask(method, params)
    assert kind(answer) == "PermissionDenied", f"{method}: {answer}"
    assert answer["error"]["data"]["setting"] == "authority"
    return dict(answer["error"]["data"])


def done(wire: Wire, method: str, params: Any) -> Any:
    answer = wire.ask(method, params)
    assert kind(answer) is None, f"{method}: {answer}"
    return answer["result"]


def load(daemon: Daemon, wire: Wire, **param: Any) -> int:
    return int(done(wire, "rkllm.init", {"model_path": str(daemon.model), **param})["handle"])


def test_a_model_is_changed_by_its_loader_and_operators(start: Start, connect: Connect) -> None:
    daemon = start(scenario="text=word")
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        handle = load(daemon, anna)
        assert done(berta, "rkllm.run", {"prompt": "Hello"})["text"]
        before = len(daemon.trace())
        for method, params in changes(daemon, handle).items():
            assert refused(berta, method, params) == {
                "kind": "PermissionDenied",
                "setting": "authority",
                "handle": handle,
                "owner": ANNA,
            }
        refused(berta, "rkllm.init", {"model_path": str(daemon.model), "top_k": 5, "replace": True})
        job = berta.ask("server.submit", {"method": "rkllm.destroy", "params": [handle]})
        assert kind(job) == "PermissionDenied", "nor by a job"
        assert len(daemon.trace()) == before, "no C function was called"
        for method, params in changes(daemon, handle).items():
            if method != "rkllm.destroy":  # the model is another one by then
                done(anna, method, params)
        done(connect(daemon, 0), "rkllm.destroy", [None])
        handle = load(daemon, connect(daemon, 0))
        assert refused(anna, "rkllm.destroy", [handle])["owner"] == 0


def test_what_is_queued_behind_a_load_is_judged_by_the_model_that_comes(start: Start, connect: Connect) -> None:
    daemon = start(scenario="hold.rkllm_init=1")
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        anna.request("rkllm.init", {"model_path": str(daemon.model)}, "load")
        daemon.wait_enter("rkllm_init")
        berta.request("rkllm.destroy", None, "destroy")
        daemon.let_go()
        assert kind(berta.final("destroy")) == "PermissionDenied"
        assert kind(anna.final("load")) is None


def test_a_run_is_ended_by_its_user_and_operators(start: Start, connect: Connect) -> None:
    daemon = start(scenario=ENDLESS)
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        load(daemon, berta, max_new_tokens=0)
        for other in (connect(daemon, ANNA), connect(daemon, 0)):
            anna.request("rkllm.run", {"prompt": "Hello"}, "run")
            daemon.wait_enter("rkllm_run")
            while not berta.ask("rkllm.is_running")["result"]["is_running"]:
                pass
            refused(berta, "rkllm.abort", None)
            assert done(other, "rkllm.abort", None)["aborted"] is True
            assert anna.final("run")["result"]["finish_reason"] == "abort"


def test_a_conversation_is_ended_by_its_user(start: Start, connect: Connect) -> None:
    daemon = start(scenario="text=word")
    daemon.load()
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        done(anna, "rkllm.run", {"prompt": "Hello", "keep_history": 1})
        refused(berta, "rkllm.clear_kv_cache", [None, 1])
        done(connect(daemon, ANNA), "rkllm.clear_kv_cache", [None, 1])
        done(berta, "rkllm.clear_kv_cache", [None, 1])
        done(anna, "rkllm.run", {"prompt": "Hello", "keep_history": 1})
    with connect(daemon, BERTA) as berta:
        while berta.ask("server.status")["result"]["clients"] > 2:
            pass
        done(berta, "rkllm.clear_kv_cache", [None, 1])


def test_a_prompt_cache_at_a_path_is_replaced_by_its_user_and_operators(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    daemon = start("--writable-directories", str(tmp_path))
    daemon.load()
    cache = tmp_path / "cache"
    params = {"save_prompt_cache": 1, "prompt_cache_path": str(cache)}
    run = {"prompt": "Hi", "rkllm_infer_params": {"prompt_cache_params": params}}
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta, connect(daemon, 0) as operator:
        assert done(anna, "rkllm.run", run)["prompt_cache"]["saved"] is True
        before = cache.stat().st_ino
        answer = berta.ask("rkllm.run", run)
        assert kind(answer) == "PermissionDenied"
        assert "another user has saved" in answer["error"]["message"]
        assert cache.stat().st_ino == before
        assert done(anna, "rkllm.run", run)["prompt_cache"]["saved"] is True
        assert done(operator, "rkllm.run", run)["prompt_cache"]["saved"] is True


def test_a_kept_context_and_its_memory_are_their_makers(start: Start, connect: Connect) -> None:
    daemon = start()
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        context = done(anna, "rknn.init", {"model_path": str(daemon.model), "keep": True})["context"]
        memory = done(anna, "rknn.create_mem", {"ctx": context, "size": 64, "keep": True})["mem"]
        own = done(berta, "rknn.create_mem", {"ctx": context, "size": 64})["mem"]
        done(berta, "rknn.query", {"context": context, "cmd": "RKNN_QUERY_IN_OUT_NUM"})
        done(berta, "rknn.mem_sync", {"mem": memory, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE"})
        done(berta, "rknn.destroy_mem", {"mem": own})
        refused(berta, "rknn.destroy_mem", {"mem": memory})
        refused(berta, "rknn.set_core_mask", {"context": context, "core_mask": 1})
        refused(berta, "rknn.destroy", {"context": context})
        done(anna, "rknn.destroy_mem", {"mem": memory})
        done(anna, "rknn.destroy", {"context": context})


def test_the_configuration_may_give_it_to_everybody_or_to_operators(start: Start, connect: Connect) -> None:
    everybody, operators = start("--authority", "everybody"), start("--authority", "operator")
    with connect(everybody, ANNA) as anna, connect(everybody, BERTA) as berta:
        done(berta, "rkllm.destroy", [load(everybody, anna)])
    with connect(operators, ANNA) as anna:
        handle = load(operators, anna)
        refused(anna, "rkllm.destroy", [handle])
        context = done(anna, "rknn.init", {"model_path": str(operators.model)})["context"]
        done(anna, "rknn.destroy", {"context": context})
        done(connect(operators, 0), "rkllm.destroy", [handle])


def test_the_loader_is_remembered(start: Start, connect: Connect, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    daemon = start("--state-directory", str(state), scenario="hold.rkllm_run=1")
    with connect(daemon, ANNA) as anna:
        handle = load(daemon, anna)
        anna.request("rkllm.run", {"prompt": "first"}, "run")
        daemon.wait_enter("rkllm_run")
        done(anna, "server.submit", {"method": "rkllm.run", "params": {"prompt": "Hello"}})
        daemon.process.kill()
        daemon.wait_end()
    after = start("--state-directory", str(state))
    with connect(after, ANNA) as anna, connect(after, BERTA) as berta:
        assert refused(berta, "rkllm.destroy", [handle])["owner"] == ANNA
        done(anna, "rkllm.destroy", [handle])


def read(result: dict[str, Any]) -> int:
    return int(result["perf"]["prefill_tokens"])


@pytest.mark.parametrize("runtime", ["simulator", "portable"])
def test_the_same_words_of_another_user_are_read_anew(
    start: Start, connect: Connect, public: Path, runtime: str
) -> None:
    caches = public / "caches"
    caches.mkdir()
    if runtime == "portable":
        daemon = start("--model", "demo", "--cache-directory", str(caches), runtime=runtime)
    else:
        daemon = start("--session-caches", "always", "--cache-directory", str(caches), scenario="text=word")
        daemon.load()
    with connect(daemon, ANNA) as first, connect(daemon, BERTA) as second:
        needed = read(Talk(first).ask(QUESTION))
        assert read(Talk(second).ask(QUESTION)) > 3 / 4 * needed, "it was in the KV cache"
        needed = read(Talk(first).ask(OTHER))
        Talk(first).ask("Who are you?")  # takes its place, and a prompt cache is kept of it
        assert read(Talk(second).ask(OTHER)) > 3 / 4 * needed
        assert read(Talk(second).ask(OTHER)) < needed / 4, "her own words are found"
        assert read(Talk(first).ask(OTHER)) < needed / 4, "and Anna's by Anna"
