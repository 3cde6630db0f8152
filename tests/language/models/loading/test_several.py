"""Several models at once, and what becomes of the first when the second load kills it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.daemon import Start
from tests.language.models.loads import DRESSED, WITH_LORA, dress, init, models, say
from tests.wire_connection import kind, streamed

# --------------------------------------------------------------------------------------------------------------------
# Several at once


@pytest.mark.parametrize(("version", "works"), [("1.2.1", False), ("1.2.2", True)])
def test_several_models_need_a_runtime_that_is_made_for_it(start: Start, version: str, works: bool) -> None:
    daemon = start("--max-models", "2", version=version)
    daemon.load()
    with daemon.connect() as wire:
        answer = init(daemon, wire, top_k=7)
        assert kind(answer) == (None if works else "NotSupported")
        if not works:
            assert answer["error"]["data"]["needs"] == "1.2.2 or later"
            assert daemon.calls("rkllm_init") == 1
            assert kind(init(daemon, wire, replace=True)) is None


def test_each_model_is_in_a_memory_domain_of_its_own(start: Start) -> None:
    daemon = start("--max-models", "4")
    with daemon.connect() as wire:
        first = daemon.load()
        chosen = init(daemon, wire, extend_param={"base_domain_id": 2})["result"]["handle"]
        third = init(daemon, wire, extend_param={"base_domain_id": 0})["result"]["handle"]
        error = init(daemon, wire, extend_param={"base_domain_id": 2})["error"]
        assert (error["code"], error["data"]["path"]) == (-32602, "$.extend_param.base_domain_id")
        assert error["data"]["limit"] == [0, 1, *range(3, 16)][2:]
        domains = {model["handle"]: model["base_domain_id"] for model in models(wire)}
        assert domains == {first: 0, chosen: 2, third: 1}
        wire.ask("rkllm.destroy", {"handle": first})
        fourth = daemon.load()
        fifth = daemon.load()
        domains = {model["handle"]: model["base_domain_id"] for model in models(wire)}
        assert (domains[fourth], domains[fifth]) == (0, 3)


def test_a_domain_may_be_chosen_for_the_only_model(start: Start) -> None:
    daemon = start()
    daemon.load(extend_param={"base_domain_id": 7})
    with daemon.connect() as wire:
        assert models(wire)[0]["base_domain_id"] == 7


# --------------------------------------------------------------------------------------------------------------------
# The second load kills the first model


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0"])
@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
def test_the_first_model_goes_on_answering(start: Start, version: str, method: str) -> None:
    daemon = start("--max-models", "2", scenario={"init": "fail_takes_first_down@2"}, version=version)
    with daemon.connect() as wire:
        handle = daemon.load()
        dress(daemon, wire, handle)
        assert kind(init(daemon, wire)) == "RuntimeError"
        wire.request(method, {"prompt": "Hi", **WITH_LORA}, "run")
        messages = wire.until_final("run")
        assert "error" not in messages[-1], messages[-1]
        text = streamed(messages) if method == "rkllm.run_async" else messages[-1]["result"]["text"]
        assert text == DRESSED
        assert "history_reset" not in messages[-1]["result"], "there was none"
        assert [model["handle"] for model in models(wire)] == [handle]
        assert say(wire) != ""
    assert daemon.calls("rkllm_init") == 3, "loaded again once"
    assert len(daemon.events("model_was_dead")) == 1


def test_with_the_defaults_the_second_load_never_reaches_c(start: Start) -> None:
    daemon = start(scenario={"init": "fail_takes_first_down"})
    with daemon.connect() as wire:
        daemon.load()
        assert kind(init(daemon, wire, top_k=7)) == "ModelAlreadyLoaded"
        assert say(wire) == "[user] Hi"
    assert daemon.calls("rkllm_init") == 1


def test_a_second_load_that_does_not_fit_never_reaches_c(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "rkllmd.toml"
    file.write_text("memory_reserve_bytes = 0\nmax_models = 2\n")
    daemon = start("--config", str(file), scenario={"init": "fail_takes_first_down"})
    with daemon.connect() as wire:
        daemon.load()
        file.write_text(f"memory_reserve_bytes = {2**40}\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_event("reloaded")
        assert kind(init(daemon, wire)) == "OutOfMemory"
        assert say(wire) == "[user] Hi"
    assert daemon.calls("rkllm_init") == 1


def test_a_conversation_that_died_with_the_model_is_told(start: Start) -> None:
    daemon = start("--max-models", "2", scenario={"init": "fail_takes_first_down@2"})
    with daemon.connect() as wire:
        daemon.load()
        turn = {"prompt": "Hi", "keep_history": 1}
        wire.ask("rkllm.run", turn)
        init(daemon, wire)
        assert wire.ask("rkllm.run", turn)["result"]["history_reset"] is True


def test_a_run_that_succeeds_ends_the_doubt(start: Start) -> None:
    daemon = start("--max-models", "2", scenario={"init": "fail@2", "run": "error", "run_nth": 2})
    with daemon.connect() as wire:
        daemon.load()
        assert kind(init(daemon, wire)) == "RuntimeError"
        assert say(wire) == "[user] Hi", "it was alive"
        assert kind(wire.ask("rkllm.run", {"prompt": "Hi"})) == "RuntimeError", "a failure of its own"
    assert daemon.calls("rkllm_init") == 2


def test_a_run_that_is_aborted_before_its_first_token_proves_nothing(start: Start) -> None:
    daemon = start("--max-models", "2", changing=True, scenario={"init": "fail_takes_first_down@2"})
    with daemon.connect() as wire:
        daemon.load()
        init(daemon, wire)
        daemon.play(delay__rkllm_run=1000)
        wire.request("rkllm.run", {"prompt": "Hi"}, "run")
        daemon.wait_enter("rkllm_run")
        daemon.play()
        assert wire.ask("server.cancel", {"id": "run"}, "cancel")["result"]["cancelled"] is True
        assert wire.final("run")["result"]["finish_reason"] == "abort"
        assert say(wire) == "[user] Hi"
    assert daemon.calls("rkllm_init") == 3


def test_a_run_that_has_begun_is_not_run_again(start: Start) -> None:
    daemon = start("--max-models", "2", scenario={"init": "fail@2", "run": "error@2"})
    with daemon.connect() as wire:
        daemon.load()
        init(daemon, wire)
        wire.request("rkllm.run_async", {"prompt": "Hi"}, "run")
        assert kind(wire.until_final("run")[-1]) == "RuntimeError"
    assert daemon.calls("rkllm_init") == 2


def test_a_dead_model_that_cannot_be_loaded_again_says_so_and_is_tried_again(start: Start) -> None:
    daemon = start("--max-models", "2", changing=True, scenario={"init": "fail_takes_first_down@2"})
    with daemon.connect() as wire:
        handle = daemon.load()
        init(daemon, wire)
        daemon.play(init="fail")
        error = wire.ask("rkllm.run", {"prompt": "Hi"})["error"]
        assert (error["data"]["kind"], error["data"]["function"]) == ("RuntimeError", "rkllm_init")
        assert [(model["handle"], model["state"]) for model in models(wire)] == [(handle, "asleep")]
        daemon.play()
        assert say(wire, handle=handle) == "[user] Hi"
