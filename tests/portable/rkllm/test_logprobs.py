"""How likely each token of an answer was: of the model's own logits, in streams, whole answers and guided ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode
from rkllmd.portable import build
from rkllmd.portable.driver import GREEDY, Driver, prompt
from rkllmd.portable.extension import Likely
from tests.daemon import Daemon, Start
from tests.portable.gguf_files import DEMO
from tests.server.jobs.submitting import result_of, submit
from tests.wire_connection import Wire, kind

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
GREEDILY: dict[str, Any] = {"sampling_params": {"top_k": 1}}


@pytest.fixture(scope="module")
def demo(start_for_module: Start) -> Daemon:
    return start_for_module("--model", "demo", runtime="portable")


@pytest.fixture(scope="module")
def several(start_for_module: Start) -> Daemon:
    """Return a daemon whose model reads two prompts in one batch."""
    daemon = start_for_module(runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": "demo", "extend_param": {"n_batch": 2}})["result"]["success"]
    return daemon


def run(wire: Wire, method: str = "rkllm.run", **params: Any) -> dict[str, Any]:
    answer = wire.ask(method, {**GREEDILY, **params}, "run")
    assert "result" in answer, answer
    found: dict[str, Any] = answer["result"]
    return found


def bytes_of(tokens: list[dict[str, Any]]) -> bytes:
    return b"".join(bytes(token["bytes"]) for token in tokens)


def test_the_probabilities_are_those_of_the_models_logits() -> None:
    """A run that returns the logits of the same prompt is what they are held against."""
    with Driver(build.build(), DEMO, **GREEDY) as driver:
        rows = driver.run(prompt("Hello"), mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS).rows[0][-1]
        seen: list[list[Likely]] = []
        driver.extension.logprobs_next_run(driver.handle, 20)
        driver.run(
            prompt("Hello"),
            max_new_tokens=1,
            sampling={**GREEDY, "top_k": 1},
            decide=lambda state, _: seen.append(driver.extension.logprobs(driver.handle)),
        )
        own, *others = seen[0]
    scale = math.log(math.fsum(math.exp(logit) for logit in rows))
    expected = sorted(((logit - scale, -number) for number, logit in enumerate(rows)), reverse=True)[:20]
    assert [other.token_id for other in others] == [-number for _, number in expected]
    assert [other.logprob for other in others] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert own == others[0], "the likeliest was chosen"


def test_what_can_t_be_asked_for_is_refused_and_nothing_is_kept() -> None:
    with Driver(build.build(), DEMO, **GREEDY) as driver:
        extension, handle = driver.extension, driver.handle
        assert (extension.logprobs_next_run(handle, -1), extension.logprobs_next_run(handle, 21)) == (-1, -1)
        seen: list[list[Likely]] = []
        driver.run("Hello", max_new_tokens=1, decide=lambda *_: seen.append(extension.logprobs(handle)))
        assert seen[0] == []
        assert extension.logprobs(handle) == [], "only a callback may ask"


def test_an_answer_is_told_token_by_token_and_whole(demo: Daemon) -> None:
    with demo.connect() as wire:
        whole = run(wire, messages=HELLO, logprobs=2, max_new_tokens=6)
        assert bytes_of(whole["logprobs"]).decode() == whole["text"]
        assert [len(token["top_logprobs"]) for token in whole["logprobs"]] == [2] * 6
        assert all(token["logprob"] == token["top_logprobs"][0]["logprob"] <= 0 for token in whole["logprobs"])
        wire.request("rkllm.run_async", {**GREEDILY, "messages": HELLO, "logprobs": 2, "max_new_tokens": 6}, "stream")
        results = [message["result"] for message in wire.until_final("stream")]
        told = [token for result in results for token in result["logprobs"]]
        assert [token["token_id"] for token in told] == [token["token_id"] for token in whole["logprobs"]]
        assert [result["token_id"] for result in results[:-1]] == [token["token_id"] for token in told]
        assert "logprobs" not in run(wire, messages=HELLO, max_new_tokens=6)


def test_the_tokens_of_a_stop_string_are_not_told(demo: Daemon) -> None:
    with demo.connect() as wire:
        text = run(wire, messages=HELLO)["text"]
        stop = text[4:9]
        for method in ("rkllm.run", "rkllm.run_async"):
            wire.request(method, {**GREEDILY, "messages": HELLO, "stop": [stop], "logprobs": 0}, "stop")
            told = [token for message in wire.until_final("stop") for token in message["result"]["logprobs"]]
            shown = text.partition(stop)[0]
            assert bytes_of(told).decode().startswith(shown)
            assert len(bytes_of(told[:-1])) < len(shown.encode()), "the last one is shown in part, or ends there"
            assert all(token["top_logprobs"] == [] for token in told)


def test_a_guided_answer_has_the_models_own_probabilities(demo: Daemon) -> None:
    schema = {"enum": ["lamp"]}
    with demo.connect() as wire:
        result = run(wire, messages=HELLO, format=schema, logprobs=1)
    assert result["text"] == '"lamp"'
    assert any(token["token_id"] != token["top_logprobs"][0]["token_id"] for token in result["logprobs"])


def test_it_is_alone_in_a_model_with_batches(several: Daemon) -> None:
    with several.connect() as wire:
        result = run(wire, messages=HELLO, logprobs=1, max_new_tokens=4)
        assert bytes_of(result["logprobs"]).decode() == result["text"]
        two = {"rkllm_input": [{"prompt": "a"}, {"prompt": "b"}], "logprobs": 1}
        assert kind(wire.ask("rkllm.run", two, "two")) == "InvalidParams"


def test_a_job_keeps_them(demo: Daemon) -> None:
    with demo.connect() as wire:
        own = run(wire, messages=HELLO, logprobs=1, max_new_tokens=4)
        job = submit(wire, "rkllm.run", {**GREEDILY, "messages": HELLO, "logprobs": 1, "max_new_tokens": 4})
        result = result_of(wire, job)
    assert bytes_of(result["logprobs"]) == bytes_of(own["logprobs"])


@pytest.mark.parametrize("count", [-1, 21, True, "2"])
def test_only_some_can_be_told(demo: Daemon, count: object) -> None:
    with demo.connect() as wire:
        error = wire.ask("rkllm.run", {"messages": HELLO, "logprobs": count})["error"]
        assert error["data"]["path"] == "$.logprobs"
        hidden = {"prompt": "a", "mode": "RKLLM_INFER_GET_LOGITS", "logprobs": 1}
        assert kind(wire.ask("rkllm.run", hidden, 2)) == "InvalidParams"


def test_the_vendors_runtime_does_not_know_them(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        error = wire.ask("rkllm.run", {"prompt": "a", "logprobs": 0})["error"]
    assert error["data"]["kind"] == "NotSupported"
    assert "logits" in error["data"]["needs"]
