"""Calls detached from their connection: server.submit, server.job, and server.cancel and server.pause of a job."""

from __future__ import annotations

import base64
import json
import os
import socket
from typing import Any

import pytest

from tests.daemon import ENDLESS, Start
from tests.rknn.board import DEMO
from tests.server.jobs.submitting import done_so_far, ended, endless, look, result_of, submit
from tests.wire_connection import kind


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])
@pytest.mark.parametrize("shape", [{}, *({"stream": shape} for shape in ("partial", "notify", "final", None))])
def test_a_run_is_answered_at_once_and_its_result_has_the_whole_text(
    start: Start, method: str, shape: dict[str, str | None]
) -> None:
    daemon = start(scenario="text=abcdefgh")
    daemon.load()
    with daemon.connect() as wire:
        job = submit(wire, method, {"prompt": "Hello"}, **shape)
        with daemon.connect() as other:
            found = ended(other, job)
        assert (found["status"], found["job"], found["method"]) == ("completed", job, method)
        assert found["elapsed_ms"] > 0
        assert found["result"]["text"] == "abcdefgh"
        assert found["result"]["finish_reason"] == "stop"
        wire.request("server.queue", None, "next")
        assert wire.receive()["id"] == "next", "nothing was streamed"


def test_a_job_outlives_the_connection_that_submitted_it(start: Start) -> None:
    daemon = start(scenario="delay.rkllm_init=300;text=abcd")
    with daemon.connect() as wire:
        load = submit(wire, "rkllm.init", {"model_path": str(daemon.model)})
        run = submit(wire, "rkllm.run", {"prompt": "Hello"})
    with daemon.connect() as other:
        assert result_of(other, run)["text"] == "abcd"
        assert look(other, load)["result"]["success"] is True


def test_it_is_queued_then_processed_then_completed(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        first = submit(wire, "rkllm.run_async", {"prompt": "Hello"})
        second = submit(wire, "rkllm.run_async", {"prompt": "Hello"})
        answer = wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hi"}}, 3)["result"]
        assert answer["position"] == 1
        queued = look(wire, answer["job"])
        assert queued.keys() == {"status", "job", "method", "position", "estimated_wait_ms", "queued_ms"}
        assert (queued["status"], queued["position"]) == ("queued", 1)
        while not done_so_far(wire, first).get("text"):
            pass
        processing = look(wire, first)
        assert processing["status"] == "processing"
        assert processing.keys() == {"status", "job", "method", "elapsed_ms", "progress"}
        shown = processing["progress"]
        assert (shown["phase"], shown["tokens"] > 0, shown["max_new_tokens"]) == ("generate", True, None)
        assert shown["text"] == "ab" * (len(shown["text"]) // 2), "the text so far"
        with daemon.connect() as other:
            (entry, _) = other.ask("server.queue")["result"]["queue"]
            assert entry["client"].startswith("job of client ")
            assert second not in entry["client"]
            current = other.ask("server.status")["result"]["current"]
            assert "text" not in current["progress"], "what a run says is its user's"
        for job in (answer["job"], second, first):  # those that wait before they run
            assert wire.ask("server.cancel", {"job": job}, "cancel")["result"] == {"cancelled": True}
        assert look(wire, second)["error"]["data"]["kind"] == "Cancelled"
        done = ended(wire, first)
        assert (done["status"], done["result"]["finish_reason"]) == ("completed", "abort")
        assert done["result"]["text"].startswith(shown["text"])
        assert wire.ask("server.cancel", {"job": first}, "cancel")["result"] == {"cancelled": False}


def test_the_text_so_far_of_a_batch(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=0, extend_param={"n_batch": 2})
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", {"rkllm_input": [{"prompt_input": "a"}, {"prompt_input": "b"}]})
        while not all(item["text"] for item in done_so_far(wire, job).get("batch", [{"text": ""}])):
            pass
        assert len(look(wire, job)["progress"]["batch"]) == 2
        wire.ask("server.cancel", {"job": job})
        ended(wire, job)


def test_a_result_is_read_as_often_as_wanted_until_it_is_forgotten(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", {"prompt": "Hello"})
        found = ended(wire, job)
        assert look(wire, job) == found
        assert look(wire, job, forget=False) == found
        assert look(wire, job, forget=True) == found
        assert look(wire, job) == {"status": "not_found"}


def test_what_has_not_ended_is_not_forgotten(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", {"prompt": "Hello"})
        assert look(wire, job, forget=True)["status"] == "processing"
        assert look(wire, job)["status"] == "processing"
        wire.ask("server.cancel", {"job": job})
        ended(wire, job)


def test_a_failure_is_the_jobs_error(start: Start) -> None:
    daemon = start(scenario="run=error")
    daemon.load()
    with daemon.connect() as wire:
        found = ended(wire, submit(wire, "rkllm.run", {"prompt": "Hello"}))
        assert found.keys() == {"status", "job", "method", "elapsed_ms", "error"}
        assert (found["status"], found["error"]["code"]) == ("error", -32002)
        assert found["error"]["data"]["function"] == "rkllm_run"


@pytest.mark.parametrize("params", [{}, {"job": 1}, {"job": None}, {"job": "x", "forget": 1}, {"jobb": "x"}, []])
def test_wrong_parameters_of_server_job(start: Start, params: Any) -> None:
    with start().connect() as wire:
        assert kind(wire.ask("server.job", params)) == "InvalidParams"


def test_what_is_wrong_with_the_call_is_said_at_once(start: Start) -> None:
    daemon = start("--priority-users", "12345")
    with daemon.connect() as wire:

        def refused(inner: Any, **members: Any) -> tuple[str | None, str | None]:
            answer = wire.ask("server.submit", inner, **members)
            return kind(answer), answer["error"]["data"].get("path") or answer["error"]["data"].get("member")

        hello = {"method": "rkllm.run", "params": {"prompt": "Hello"}}
        assert refused(hello) == ("ModelNotInitialized", None)
        assert refused({"method": "rkllm.init", "params": {"model_path": "/nonexistent"}}) == (
            "InvalidParams",
            "$.params.model_path",
        )
        assert refused({"method": "rkllm.init", "params": [1]})[1] == "$.params[0]"
        daemon.load()
        assert refused({**hello, "params": {"prompt": "x", "y": 1}}) == ("InvalidParams", "$.params.y")
        assert refused({**hello, "params": "x"}) == ("InvalidParams", "$.params")
        assert refused({"params": {}}) == ("InvalidParams", "$.method")
        assert refused({"method": 1}) == ("InvalidParams", "$.method")
        assert refused({**hello, "other": 1}) == ("InvalidParams", "$.other")
        assert refused({"method": "rkllm.nothing"}) == ("MethodNotFound", None)
        assert refused(hello, priority="urgent") == ("InvalidParams", "priority")
        assert refused(hello, priority="high") == ("PermissionDenied", None)
        assert refused(hello, stream="loud") == ("InvalidParams", "stream")
        assert refused(hello, reply_fds=True) == ("InvalidParams", "reply_fds")
        assert daemon.calls("rkllm_run") == 0


@pytest.mark.parametrize(
    "method", ["server.status", "server.submit", "rkllm.abort", "rkllm.get_constants", "rpc.discover", "rknn.query"]
)
def test_what_is_answered_at_once_is_no_job(start: Start, method: str) -> None:
    with start().connect() as wire:
        error = wire.ask("server.submit", {"method": method})["error"]
        assert (error["data"]["kind"], error["data"]["path"]) == ("InvalidParams", "$.method")
        assert "call it directly" in error["message"]


def test_an_ordered_call_may_have_ended_before_its_answer(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        wire.ask("server.watch", {"events": ["job"]})
        wire.request("server.submit", {"method": "rkllm.clear_kv_cache", "params": [None, 1]}, 2)
        answer = wire.receive()
        assert answer["id"] == 2, "the answer comes before the news of the job"
        assert result_of(wire, answer["result"]["job"]) == {"success": True, "status": 0}


def test_the_queues_limits_hold_and_a_refused_job_is_not_kept(start: Start) -> None:
    # The daemon's own user is an operator, for whom only the limit of all holds.
    daemon = endless(start, "--max-calls-per-connection", "2", "--max-jobs", "2")
    with daemon.connect() as wire:
        running = submit(wire, "rkllm.run", {"prompt": "Hello"})
        waiting = submit(wire, "rkllm.run", {"prompt": "Hello"})
        hello = {"method": "rkllm.run", "params": {"prompt": "Hello"}}
        refused = wire.ask("server.submit", hello)
        assert kind(refused) == "QueueFull"
        assert "as many jobs as may be (max_jobs: 2), and none has ended" in refused["error"]["message"]
        wire.ask("server.cancel", {"job": waiting})
        third = submit(wire, "rkllm.run", {"prompt": "Hello"})
        assert look(wire, waiting) == {"status": "not_found"}, "the oldest that has ended made room"
        wire.ask("server.cancel", {"job": third})
        wire.ask("server.cancel", {"job": running})
        ended(wire, running)


def test_the_queue_is_full_for_jobs_of_many_connections_of_one_user(start: Start) -> None:
    daemon = endless(start, "--max-calls-per-connection", "1")
    with daemon.connect() as wire, daemon.connect() as other:
        running = submit(wire, "rkllm.run", {"prompt": "Hello"})
        waiting = submit(wire, "rkllm.run", {"prompt": "Hello"})
        hello = {"method": "rkllm.run", "params": {"prompt": "Hello"}}
        refused = other.ask("server.submit", hello)
        assert (kind(refused), refused["error"]["data"]["limit"]) == ("QueueFull", 1)
        for job in (waiting, running):
            wire.ask("server.cancel", {"job": job})
        ended(wire, running)


def test_members_beside_the_method_are_the_calls_own(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        running = submit(wire, "rkllm.run", {"prompt": "Hello"})
        low = submit(wire, "rkllm.run", {"prompt": "Hello"}, priority="low")
        normal = submit(wire, "rkllm.run", {"prompt": "Hello"})
        queue = wire.ask("server.queue")["result"]["queue"]
        assert [entry["priority"] for entry in queue] == ["normal", "low"]
        for job in (low, normal, running):
            wire.ask("server.cancel", {"job": job})
        ended(wire, running)


def test_a_job_is_paused_and_resumed(start: Start) -> None:
    daemon = start(scenario="text=abcdefgh;repeat=500;pace_us=300")
    daemon.load(max_new_tokens=3000)
    with daemon.connect() as wire:
        assert wire.ask("server.pause", {"job": "unknown"})["result"] == {"paused": False}
        first = submit(wire, "rkllm.run", {"prompt": "Hello"})
        while not done_so_far(wire, first).get("tokens"):
            pass
        second = submit(wire, "rkllm.run", {"prompt": ""})
        assert wire.ask("server.pause", {"job": second})["result"] == {"paused": False}, "it waits"
        assert wire.ask("server.pause", {"job": first})["result"] == {"paused": True}
        begun = result_of(wire, first)
        rest = result_of(wire, second)
        assert (begun["finish_reason"], rest["finish_reason"]) == ("pause", "stop")
        assert begun["text"] + rest["text"] == "abcdefgh" * 500
        assert wire.ask("server.pause", {"job": first})["result"] == {"paused": False}


@pytest.mark.parametrize("method", ["server.cancel", "server.pause"])
@pytest.mark.parametrize("params", [{}, {"id": 1, "job": "x"}, {"job": 1}, [1, "x"]])
def test_a_call_is_named_by_its_id_or_its_job(start: Start, method: str, params: Any) -> None:
    with start().connect() as wire:
        assert kind(wire.ask(method, params)) == "InvalidParams"


def test_tensors_travel_as_text(start: Start) -> None:
    pytest.importorskip("onnxruntime")
    daemon = start(runtime="portable")
    picture = base64.b64encode(bytes(48 * 48 * 3)).decode()
    with daemon.connect() as wire:
        wire.ask("rknn.init", {"model_path": str(DEMO / "digits.onnx")})
        inputs = [{"index": 0, "buf": {"data": picture, "dtype": "uint8"}}]
        direct = wire.ask("rknn.infer", {"inputs": inputs})
        found = ended(wire, submit(wire, "rknn.infer", {"inputs": inputs}))
        assert kind(direct) is None, direct
        assert found["result"]["outputs"] == direct["result"]["outputs"]


def test_descriptors_are_refused(start: Start) -> None:
    daemon = start()
    with daemon.connect() as wire:
        read, write = os.pipe()
        message = {"jsonrpc": "2.0", "id": 1, "method": "server.submit", "params": {"method": "rknn.init"}, "fds": 1}
        socket.send_fds(wire.socket, [json.dumps(message).encode() + b"\n"], [read])
        os.close(read)
        os.close(write)
        error = wire.final(1)["error"]
        assert (error["data"]["kind"], error["data"]["member"]) == ("InvalidParams", "fds")
        found = ended(wire, submit(wire, "rknn.init", {"model": {"fd": 0}}))
        assert found["error"]["data"]["kind"] == "InvalidParams"


def test_a_long_call_arrives_whole(start: Start) -> None:
    """Its line is parsed and prepared on a helper thread."""
    daemon = start(scenario="echo_hash=1")
    daemon.load(max_context_len=4096)
    prompt = "abcd" * 100_000
    with daemon.connect() as wire:
        direct = wire.ask("rkllm.run", {"prompt": prompt})["result"]
        found = ended(wire, submit(wire, "rkllm.run", {"prompt": prompt}))
        assert found["result"]["text"] == direct["text"]


def test_a_batch_may_ask_for_a_job(start: Start) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", {"prompt": "Hello"})
        found = ended(wire, job)
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": "server.job", "params": {"job": job}} for number in range(2)
        ]
        wire.send(json.dumps(asked).encode() + b"\n")
        assert [item["result"] for item in wire.receive()] == [found, found]


def test_when_the_daemon_leaves_the_log_tells_of_the_jobs(start: Start) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        running = submit(wire, "rkllm.run", {"prompt": "Hello"})
        waiting = submit(wire, "rkllm.run", {"prompt": "Hello"})
        daemon.wait_enter("rkllm_run")
        wire.ask("server.watch", {"events": ["job"]})
        assert daemon.stop() == 0
        told = {message["params"]["job"]: message["params"]["status"] for message in wire.receive_all()}
    assert told == {running: "completed", waiting: "error"}
    lines = {line["job"]: line["error"] for line in daemon.events("job_not_read")}
    assert lines == {running: None, waiting: "ShuttingDown"}


def test_when_the_daemon_leaves_a_call_that_does_not_return_is_given_up(start: Start) -> None:
    daemon = start(scenario="init=hang")
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.init", {"model_path": str(daemon.model)})
        daemon.wait_enter("rkllm_init")
        assert look(wire, job)["progress"]["phase"] == "load"
        assert daemon.stop() == 0
    (line,) = daemon.events("job_not_read")
    assert (line["job"], line["error"]) == (job, "ShuttingDown")
