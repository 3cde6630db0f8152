"""A model that nobody uses is unloaded, and is there again when somebody does."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.language.models import idle
from tests.daemon import Daemon, Start
from tests.language.models.loads import DRESSED, WITH_LORA, dress, models, say
from tests.wire_connection import Wire, kind

# Sixty milliseconds: the tests wait for the event and not for the time.
SOON = ("--model-idle-minutes", "0.001")


def model(idle_minutes: float | None = None, used_at: float = 0.0, is_asleep: bool = False) -> Any:
    return SimpleNamespace(idle_minutes=idle_minutes, used_at=used_at, is_asleep=is_asleep)


def context(*models: Any, minutes: float = 0.0, declared: tuple[float | None, ...] = (), used: Any = None) -> Any:
    return SimpleNamespace(
        models=models,
        config=SimpleNamespace(
            model_idle_minutes=minutes, models=[SimpleNamespace(idle_minutes=item) for item in declared]
        ),
        npu=SimpleNamespace(queue=SimpleNamespace(uses=lambda item: item is used)),
    )


def test_by_default_no_model_is_unloaded() -> None:
    assert idle.look(context(model()), 1e9) == ([], 60)


def test_a_model_is_due_when_it_was_unused_for_so_long() -> None:
    item = model(used_at=100)
    assert idle.look(context(item, minutes=10), 699.0) == ([], 1)
    assert idle.look(context(item, minutes=10), 700.0).due == [item]


def test_a_models_own_limit_stands_before_the_general_one() -> None:
    quick, never, plain = model(1), model(0), model()
    assert idle.look(context(quick, never, plain, minutes=2, declared=(1, 0, None)), 61.0).due == [quick]
    assert idle.look(context(quick, never, plain, minutes=2), 120.0).due == [quick, plain]


def test_a_model_that_is_used_or_asleep_is_left_alone() -> None:
    used = model()
    assert idle.look(context(used, model(is_asleep=True), minutes=1, used=used), 1e9).due == []


def test_the_next_look_comes_in_time_and_not_too_often() -> None:
    assert idle.look(context(model(), minutes=0.00001), 0.0).seconds == pytest.approx(0.05)
    assert idle.look(context(model(), minutes=1000), 0.0).seconds == 60
    assert idle.look(context(declared=(0.5,)), 0.0).seconds == 30, "one that is loaded now is due then"


# --------------------------------------------------------------------------------------------------------------------
# Over the socket


def asleep(daemon: Daemon, count: int = 1) -> None:
    daemon.wait_event("model_asleep", count)


def states(wire: Wire) -> list[str]:
    return [item["state"] for item in models(wire)]


def reload(daemon: Daemon, file: Path, text: str) -> None:
    file.write_text(text)
    count = len(daemon.events("reloaded"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded", count + 1)


def test_an_idle_model_sleeps_and_the_next_call_loads_it_again(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("model_idle_minutes = 0.001")
    daemon = start("--config", str(file))
    with daemon.connect() as wire:
        handle = daemon.load()
        dress(daemon, wire, handle)
        turn = {"prompt": "Hi", "keep_history": 1}
        wire.ask("rkllm.run", turn)
        # On a slow machine it may have slept and woken before the run already.
        asleep(daemon, len(daemon.events("model_loaded")) + len(daemon.events("model_loaded_again")))
        loads = daemon.calls("rkllm_init")
        reload(daemon, file, "")
        (item,) = models(wire)
        assert (item["handle"], item["state"], item["loaded_s"]) == (handle, "asleep", None)
        assert item["lora_adapters"] == ["coding"]
        before = len(daemon.trace())
        assert wire.ask("rkllm.is_running")["result"] == {"is_running": False, "status_code": None}
        assert wire.ask("rkllm.get_kv_cache_size")["result"] == {"success": True, "cache_sizes": [0]}
        assert wire.ask("rkllm.abort")["result"]["aborted"] is False
        assert len(daemon.trace()) == before, "all that is known without C"
        assert wire.ask("rkllm.run", turn)["result"]["history_reset"] is True
        assert say(wire, handle=handle, **WITH_LORA) == DRESSED
        assert states(wire) == ["loaded"]
    assert daemon.calls("rkllm_init") == loads + 1


def test_an_ordered_call_wakes_too(start: Start) -> None:
    daemon = start(*SOON)
    with daemon.connect() as wire:
        daemon.load()
        asleep(daemon)
        assert "result" in wire.ask("rkllm.set_chat_template", {"system_prompt": "S"})
        assert say(wire) == "[system] S [user] Hi"


def test_while_it_wakes_the_daemon_is_loading_and_instant_calls_answer(start: Start) -> None:
    daemon = start(*SOON, changing=True)
    with daemon.connect() as wire, daemon.connect() as other:
        daemon.load()
        asleep(daemon)
        daemon.play(delay__rkllm_init=2000)
        wire.request("rkllm.run", {"prompt": "Hi"}, "run")
        daemon.wait_enter("rkllm_init", 2)
        assert other.ask("server.status")["result"]["state"] == "loading"
        assert other.ask("rkllm.is_running")["result"] == {"is_running": True, "status_code": None}
        assert wire.final("run")["result"]["text"] == "[user] Hi"


def test_a_model_that_runs_for_long_is_not_idle(start: Start) -> None:
    daemon = start(*SOON, scenario={"text": "abcd", "repeat": 100, "pace_us": 5000})
    with daemon.connect() as wire:
        daemon.load()
        answer = wire.ask("rkllm.run", {"prompt": "Hi"})
        assert len(answer["result"]["text"]) == 400
        asleep(daemon, len(daemon.events("model_loaded")) + len(daemon.events("model_loaded_again")))
    order = [line[3] for line in daemon.trace() if line[2] == "leave" and line[3] in ("rkllm_run", "rkllm_destroy")]
    # It may have slept before the run came; never inside it, which the trace's judge would say too.
    assert order[-2:] == ["rkllm_run", "rkllm_destroy"]


def test_one_that_cannot_be_loaded_again_sleeps_on(start: Start) -> None:
    daemon = start(*SOON, changing=True)
    with daemon.connect() as wire:
        handle = daemon.load()
        asleep(daemon)
        daemon.play(init="fail")
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["error"]["data"]["function"] == "rkllm_init"
        assert states(wire) == ["asleep"]
        daemon.play()
        assert say(wire, handle=handle) == "[user] Hi"


def test_a_file_that_has_gone_is_told_before_c_sees_it(start: Start) -> None:
    daemon = start(*SOON)
    with daemon.connect() as wire:
        handle = daemon.load()
        asleep(daemon)
        daemon.model.unlink()
        error = wire.ask("rkllm.run", {"prompt": "Hi"})["error"]
        assert (error["data"]["kind"], error["data"]["handle"]) == ("ModelNotInitialized", handle)
        assert error["message"] == f"The model can't be loaded again: {daemon.model}: there is no such file."
        daemon.model.touch()
        assert say(wire) == "[user] Hi"
    assert daemon.calls("rkllm_init") == 2


def test_memory_is_asked_for_again(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("memory_reserve_bytes = 0\nmodel_idle_minutes = 0.001\n")
    daemon = start("--config", str(file))
    with daemon.connect() as wire:
        daemon.load()
        asleep(daemon)
        reload(daemon, file, f"memory_reserve_bytes = {2**40}\n")
        error = wire.ask("rkllm.run", {"prompt": "Hi"})["error"]
        assert (error["data"]["kind"], error["data"]["loaded"]) == ("OutOfMemory", [])
        reload(daemon, file, "memory_reserve_bytes = 0\n")
        assert say(wire) == "[user] Hi"


def test_a_sleeper_is_unloaded_for_good_without_waking(start: Start) -> None:
    daemon = start(*SOON)
    with daemon.connect() as wire:
        daemon.load()
        asleep(daemon)
        assert "result" in wire.ask("rkllm.destroy")
        assert models(wire) == []
    assert (daemon.calls("rkllm_init"), daemon.calls("rkllm_destroy")) == (1, 1)


def test_a_load_takes_the_place_of_a_sleeper(start: Start) -> None:
    daemon = start(*SOON)
    with daemon.connect() as wire:
        first = daemon.load()
        asleep(daemon)
        second = wire.ask("rkllm.init", {"model_path": str(daemon.model)})["result"]
        assert second["forgotten"] == [first]
        assert [item["handle"] for item in models(wire)] == [second["handle"]]
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi", "handle": first})) == "InvalidHandle"


def test_a_load_that_fails_takes_no_sleepers_place(start: Start) -> None:
    daemon = start(*SOON, scenario={"init": "fail@2"})
    with daemon.connect() as wire:
        first = daemon.load()
        asleep(daemon)
        assert kind(wire.ask("rkllm.init", {"model_path": str(daemon.model)})) == "RuntimeError"
        assert say(wire, handle=first) == "[user] Hi"


def test_where_several_may_be_loaded_a_sleeper_keeps_its_place_and_domain(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("max_models = 2\nmodel_idle_minutes = 0.001\n")
    daemon = start("--config", str(file))
    with daemon.connect() as wire:
        first = daemon.load()
        asleep(daemon)
        reload(daemon, file, "max_models = 2\n")
        second = daemon.load()
        found = [(item["handle"], item["state"], item["base_domain_id"]) for item in models(wire)]
        assert found == [(first, "asleep", 0), (second, "loaded", 1)]
        third = daemon.load()
        found = [(item["handle"], item["state"], item["base_domain_id"]) for item in models(wire)]
        assert found == [(second, "loaded", 1), (third, "loaded", 0)]


def test_a_declared_model_has_its_own_time(start: Start, tmp_path: Path) -> None:
    file, path = tmp_path / "rkllmd.toml", tmp_path / "m.rkllm"
    path.touch()
    file.write_text(f"[models.quick]\nmodel_path = '{path}'\nidle_minutes = 0.001\nautoload = true\n")
    daemon = start("--config", str(file))
    asleep(daemon)
    (event,) = daemon.events("model_asleep")
    assert event["name"] == "quick"
    with daemon.connect() as wire:
        assert say(wire) == "[user] Hi"


def test_the_daemon_leaves_in_order_with_a_model_asleep(start: Start) -> None:
    daemon = start(*SOON)
    daemon.load()
    asleep(daemon)
    assert daemon.stop() == 0
    assert daemon.calls("rkllm_destroy") == 1
