"""Clients whose runs share a batch: each has what it would have alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.daemon import Daemon, Start, until
from tests.wire_connection import Wire, kind, streamed

PLACES = 4
SLOW = {"text": "ab", "repeat": 100_000, "batch_step": 0, "pace_us": 2000}


@pytest.fixture
def daemon(start: Start) -> Daemon:
    """Return a daemon whose model has batches of four; a run does not begin before the test lets it."""
    daemon = start("--coalesce", "always", scenario="prefill_hold=1", changing=True)
    daemon.load(extend_param={"n_batch": PLACES}, max_new_tokens=0)
    return daemon


@pytest.fixture
def wires(daemon: Daemon) -> Iterator[list[Wire]]:
    """Return connections: one for a first run, one for each place of a batch, and one that looks on."""
    with ExitStack() as stack:
        yield [stack.enter_context(daemon.connect()) for _ in range(PLACES + 2)]


def begin(daemon: Daemon, wire: Wire) -> None:
    """Let a first run begin, which is alone: those that come from now on wait for its end."""
    wire.request("rkllm.run_async", {"prompt": "the first", "max_new_tokens": 2})
    daemon.wait_enter("rkllm_run_async")


def has_ended(looker: Wire, job: str) -> bool:
    return "result" in looker.ask("server.job", {"job": job})["result"]


def wait_until_queued(looker: Wire, length: int) -> None:
    until(f"{length} calls wait", lambda: looker.ask("server.status", call_id="s")["result"]["queue_length"] == length)


def ask_together(daemon: Daemon, wires: list[Wire], asked: Sequence[dict[str, Any]]) -> list[Wire]:
    """Let runs begin together, behind a first one; return their connections."""
    first, *others, looker = wires
    begin(daemon, first)
    for wire, item in zip(others, asked, strict=False):
        wire.request("rkllm.run_async", **{"params": {"prompt": "?"}, **item})
    wait_until_queued(looker, len(asked))
    daemon.let_go()
    first.final(1)
    return others[: len(asked)]


def test_each_has_its_own_answer_as_if_it_were_alone(daemon: Daemon, wires: list[Wire]) -> None:
    prompts = ["a", "beta and more", "gamma", "the longest of them all"]
    asked = [{"params": {"prompt": prompt}} for prompt in prompts]
    shared = [wire.until_final(1) for wire in ask_together(daemon, wires, asked)]
    assert daemon.calls("rkllm_run_async") == 2, "one for the first, one for the others"
    for messages, prompt in zip(shared, prompts, strict=True):
        wires[-1].request("rkllm.run_async", {"prompt": prompt})
        alone = wires[-1].until_final(1)
        assert streamed(messages) == streamed(alone)
        assert messages[:-1] == alone[:-1]
        final, other = messages[-1]["result"], alone[-1]["result"]
        assert final.pop("perf")["generate_tokens"] == other.pop("perf")["generate_tokens"] == len(messages) - 1
        assert final == other


def test_each_has_its_own_limit_stop_string_and_shape(daemon: Daemon, wires: list[Wire]) -> None:
    asked: list[dict[str, Any]] = [
        {"params": {"prompt": "one two three", "max_new_tokens": 5}},
        {"params": {"prompt": "one two three", "stop": ["two"]}},
        {"params": {"prompt": "one two three"}, "stream": "final"},
    ]
    limited, stopped, whole = (wire.until_final(1) for wire in ask_together(daemon, wires, asked))
    assert daemon.calls("rkllm_run_async") == 2
    assert streamed(limited) == "[user] one"[:10]
    assert limited[-1]["result"]["finish_reason"] == "length"
    assert streamed(stopped) == "[user] one "
    assert stopped[-1]["result"]["stop_sequence"] == "two"
    assert [message["result"]["text"] for message in whole] == ["[user] one two three"]


def test_what_does_not_fit_together_goes_one_after_the_other(daemon: Daemon, wires: list[Wire]) -> None:
    asked: list[dict[str, Any]] = [
        {"params": {"prompt": "a"}},
        {"params": {"prompt": "b", "sampling_params": {"temperature": 0.5}}},
        {"params": {"prompt": "c"}},
        {"params": {"input_type": "RKLLM_INPUT_TOKEN", "token_input": {"input_ids": [1, 2]}}},
    ]
    texts = [streamed(wire.until_final(1)) for wire in ask_together(daemon, wires, asked)]
    assert texts == ["[user] a", "[user] b", "[user] c", "[user] [tokens n=2 sum=3]"]
    assert daemon.calls("rkllm_run_async") == 4


def test_one_that_leaves_costs_the_others_nothing(daemon: Daemon, wires: list[Wire]) -> None:
    """By cancelling, by hanging up, by a time limit; the last one goes on until it is aborted."""
    daemon.play(**SLOW, prefill_hold=1)
    asked: list[dict[str, Any]] = [{}, {}, {"run_timeout_ms": 300}, {}]
    cancelled, gone, late, last = ask_together(daemon, wires, asked)
    looker = wires[-1]
    for wire in (cancelled, gone, late, last):
        wire.receive()
    cancelled.request("server.cancel", {"id": 1}, "cancel")
    assert cancelled.final(1)["result"]["finish_reason"] == "abort"
    gone.socket.close()
    assert late.final(1)["result"]["finish_reason"] == "timeout"
    current = looker.ask("server.status")["result"]["current"]
    assert [member["client"] for member in current["together"]], "the last one goes on"
    before = last.receive()["result"]["seq"]
    assert last.receive()["result"]["seq"] == before + 1
    assert daemon.calls("rkllm_abort") == 0, "C was not told to stop"
    assert looker.ask("rkllm.abort")["result"]["aborted"]
    assert last.final(1)["result"]["finish_reason"] == "abort"
    daemon.wait_finished(2)
    daemon.let_go()
    daemon.play()
    assert looker.ask("rkllm.run", {"prompt": "next"})["result"]["text"] == "[user] next"


def test_when_all_have_left_c_is_aborted(daemon: Daemon, wires: list[Wire]) -> None:
    daemon.play(**SLOW, prefill_hold=1)
    pair = ask_together(daemon, wires, [{}, {}])
    for wire in pair:
        wire.receive()
        wire.socket.close()
    daemon.wait_enter("rkllm_abort")
    daemon.wait_finished(2)


def test_a_failure_is_told_to_each(daemon: Daemon, wires: list[Wire]) -> None:
    daemon.play(prefill_hold=1, text="abcd", batch_step=0, run="error@1", run_nth=2)
    pair = ask_together(daemon, wires, [{}, {}])
    for wire in pair:
        messages = wire.until_final(1)
        assert [message["result"]["text"] for message in messages[:-1]] == ["ab"], "what came before is not lost"
        assert kind(messages[-1]) == "RuntimeError"


def test_jobs_share_a_batch_too(daemon: Daemon, wires: list[Wire]) -> None:
    first, *_, looker = wires
    begin(daemon, first)
    jobs = [
        looker.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": prompt}})["result"]["job"]
        for prompt in ("a", "b")
    ]
    daemon.let_go()
    for job, text in zip(jobs, ("[user] a", "[user] b"), strict=True):
        until("the job has ended", partial(has_ended, looker, job))
        assert looker.ask("server.job", {"job": job})["result"]["result"]["text"] == text
    assert daemon.calls("rkllm_run") == 1


def test_whoever_gives_all_inputs_has_the_batch_alone(daemon: Daemon, wires: list[Wire]) -> None:
    daemon.let_go()
    inputs = [{"prompt_input": str(number), "input_type": 0} for number in range(PLACES)]
    found = wires[0].ask("rkllm.run", {"rkllm_input": inputs})["result"]
    assert [entry["text"] for entry in found["batch"]] == [f"[user] {number}" for number in range(PLACES)]


def chat(*said: str, **more: Any) -> dict[str, Any]:
    """Return the call of a conversation in which the user and the model take turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    return {"params": {"messages": messages, **more}}


def test_chats_share_a_batch_and_answer_as_if_alone(daemon: Daemon, wires: list[Wire]) -> None:
    asked = [
        chat("one"),
        chat("<think>why</think>two and more", stop=["more"]),
        chat("three", "yes", "four", max_new_tokens=9),
        chat('<tool_call>{"name": "f", "arguments": {}}</tool_call>', special=True, raw=False),
    ]
    shared = [wire.until_final(1) for wire in ask_together(daemon, wires, asked)]
    assert daemon.calls("rkllm_run_async") == 2, "one for the first, one for the others"
    assert [messages[-1]["result"]["finish_reason"] for messages in shared] == ["stop", "stop", "length", "stop"]
    assert shared[1][-1]["result"]["stop_sequence"] == "more"
    for messages, item in zip(shared, asked, strict=True):
        wires[-1].request("rkllm.run_async", item["params"])
        alone = wires[-1].until_final(1)
        assert messages[:-1] == alone[:-1]
        for final in (messages[-1]["result"], alone[-1]["result"]):
            for figure in ("perf", "prompt_tokens", "cached_tokens"):  # C tells those of the longest at the end
                final.pop(figure, None)
        assert messages[-1] == alone[-1]


def test_a_single_run_is_served_whatever_n_batch_is(start: Start) -> None:
    """With its own history, in a session, for hidden states; C is given the same in all entries."""
    daemon = start(scenario="tokens=words", changing=True)
    daemon.load(extend_param={"n_batch": 3}, max_new_tokens=0)
    with daemon.connect() as wire:
        for _ in range(2):
            assert wire.ask("rkllm.run", {"prompt": "a b", "keep_history": 1})["result"]["text"] == "[user] a b"
        sizes = wire.ask("rkllm.get_kv_cache_size")["result"]["cache_sizes"]
        assert sizes == [2 * (3 + 3)] * 3, "what was there is gone on with"
        said = wire.ask("rkllm.run", {"prompt": "a b"}, session="kitchen")["result"]
        assert (said["text"], said["session"]["turns"]) == ("[user] a b", 1)
        talk = [{"role": "user", "content": "c d"}]
        for turn in (1, 3):
            found = wire.ask("rkllm.run", {"messages": talk})["result"]
            assert found["finish_reason"] == "stop"
            talk += [{"role": "assistant", "content": found["text"]}, {"role": "user", "content": "e"}]
            assert len(talk) == turn + 2
        tensors = wire.ask("rkllm.run", {"prompt": "ab", "mode": 1})["result"]
        assert tensors["last_hidden_layer"]["num_tokens"] == 2


def test_a_form_is_kept_by_pauses_of_all_entries(start: Start) -> None:
    daemon = start(scenario="kv_ranges_need_pause=1;text=Sure! bath\\x22}", changing=True)
    daemon.load(extend_param={"n_batch": 3}, max_new_tokens=0)
    form = {"type": "object", "properties": {"room": {"enum": ["bath"]}}, "required": ["room"]}
    with daemon.connect() as wire:
        found = wire.ask("rkllm.run", {"prompt": "?", "format": form})["result"]
    assert json.loads(found["text"]) == {"room": "bath"}
    assert found["finish_reason"] == "stop"


def test_a_prompt_that_is_too_long_is_no_error_of_the_others(daemon: Daemon, wires: list[Wire]) -> None:
    daemon.play(prefill_hold=1, prompt_limit=1)
    asked: list[dict[str, Any]] = [{"params": {"prompt": "x" * 9000}}, {"params": {"prompt": "a"}}, chat("b")]
    long, short, other = (wire.until_final(1) for wire in ask_together(daemon, wires, asked))
    assert kind(long[-1]) == "RuntimeError"
    assert [streamed(short), streamed(other)] == ["[user] a", "[user] b"]


def test_a_crash_says_how_many_runs_it_has_ended(start: Start) -> None:
    daemon = start("--coalesce", "always", scenario="prefill_hold=1", changing=True, keeper=True)
    daemon.load(extend_param={"n_batch": PLACES}, max_new_tokens=0)
    with ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in range(PLACES + 1)]
        begin(daemon, wires[0])
        for wire in wires[1:-1]:
            wire.request("rkllm.run_async", {"prompt": "?"})
        wait_until_queued(wires[-1], PLACES - 1)
        daemon.play(prefill_hold=1, run="segfault")
        daemon.let_go()
        crash = daemon.wait_event("crashed")[0]
    assert crash["call"]["runs"] == PLACES - 1
    assert crash["call"]["method"] == "rkllm.run_async"


def test_c_that_hangs_keeps_nobody_waiting(start: Start) -> None:
    """Each is answered at its own limit, and the NPU counts as stuck since the call of C does not return."""
    limits = ("--token-timeout-ms", "100", "--grace-ms", "100")
    daemon = start("--coalesce", "always", *limits, scenario="text=a b c;tokens=words;batch_step=0;run=hang@2")
    daemon.load(extend_param={"n_batch": 2})
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "?"})
        messages = wire.until_final(1)
        assert kind(messages[-1]) == "Timeout"
        assert [message["result"]["text"] for message in messages[:-1]] == ["a ", "b "]
        until("the NPU counts as stuck", lambda: wire.ask("server.status")["result"]["state"] == "wedged")
        daemon.process.kill()
