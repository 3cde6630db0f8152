"""A client that does not read is slowed down or dropped, and is nobody else's trouble (protocol, section 1)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.daemon import Start
from tests.wire_connection import Wire, streamed

MIB = 2**20
FULL_SPEED = "text=ab;repeat=1000000000"
# For the long run: RKLLMD_PIPELINED=200000.
PIPELINED = int(os.environ.get("RKLLMD_PIPELINED", "40000"))


def test_a_client_that_stops_reading_is_dropped_when_its_outbox_is_full(start: Start) -> None:
    daemon = start(
        "--outbox-bytes", "65536", "--outbox-seconds", "3600", scenario=f"{FULL_SPEED};prefill_hold=1", changing=True
    )
    daemon.load(max_new_tokens=0)
    with daemon.connect() as stopped, daemon.connect() as other, daemon.connect() as looker:
        stopped.request("rkllm.run_async", {"prompt_input": "Hello"})
        daemon.wait_enter("rkllm_run_async")
        daemon.play(text="quantum computing")
        other.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        other.request("server.queue", None, 2)
        assert other.receive()["id"] == 2, "it waits"
        daemon.let_go()
        while not daemon.events("slow_reader"):
            assert "result" in looker.ask("server.queue"), "instant calls are answered while the full-speed stream runs"
        assert daemon.events("slow_reader")[0]["unread_bytes"] >= 65_536
        daemon.wait_finished()
        assert streamed(other.until_final(1)) == "quantum computing", "another client's stream is whole"
        rest = [message for message in stopped.receive_all()[:-1] if message["id"] == 1]
        assert [message["result"]["seq"] for message in rest] == list(range(len(rest))), "what was sent is in order"


def test_a_client_that_stops_reading_is_dropped_after_its_time(start: Start) -> None:
    """The outbox is far from full: 1000 tokens per second of 100 bytes against 1 GiB."""
    limits = ("--outbox-bytes", str(2**30), "--outbox-seconds", "1")
    daemon = start(*limits, scenario=f"{FULL_SPEED};pace_us=1000")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as stopped:
        stopped.request("rkllm.run_async", {"prompt_input": "Hello"})
        event = daemon.wait_event("slow_reader")[0]
        assert event["unread_bytes"] < 10 * MIB
        daemon.wait_finished()
        assert daemon.calls("rkllm_abort") >= 1, "its run was aborted"


def test_a_stopped_reader_costs_no_more_memory_than_its_outbox(start: Start) -> None:
    """The messages are small, so Python's share of each makes about three times the outbox."""
    outbox = 2 * MIB
    daemon = start("--outbox-bytes", str(outbox), scenario=FULL_SPEED, cold=True)
    daemon.load(max_new_tokens=0)
    before = daemon.memory_peak()
    for number in range(1, 5):
        with daemon.connect() as stopped:
            stopped.request("rkllm.run_async", {"prompt_input": "Hello"})
            daemon.wait_event("slow_reader", number)
        daemon.wait_finished(number)
    assert daemon.memory_peak() - before < 4 * outbox + 16 * MIB, "one outbox, however many clients have stopped"


def test_a_pipelining_client_that_does_not_read_is_slowed_down_not_dropped(start: Start) -> None:
    daemon = start(cold=True)
    line = b'{"jsonrpc":"2.0","id":%d,"method":"server.queue"}\n'
    requests = b"".join(line % number for number in range(PIPELINED))
    before = daemon.memory_peak()
    with daemon.connect() as wire, daemon.connect() as other:
        sent = _send_until_stuck(wire, other, requests)
        assert sent < len(requests), "the daemon reads no more while its answers are not read"
        ids = _exchange(wire, requests[sent:], PIPELINED)
    assert ids == list(range(PIPELINED)), "every request is answered, in order"
    assert daemon.events("slow_reader") == []
    assert daemon.memory_peak() - before < 16 * MIB


def test_a_client_that_pipelines_calls_with_big_answers_is_not_dropped(start: Start) -> None:
    """Each answer is as long as the outbox may be; a read brings a thousand such calls at once."""
    daemon = start("--outbox-bytes", "65536")
    with daemon.connect() as wire:
        wire.send(b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"rpc.discover"}\n' % number for number in range(60)))
        wire.half_close()
        ids = [message["id"] for message in wire.receive_all()]
    assert ids == list(range(60))


def test_a_single_answer_above_the_outbox_limit_gets_through(start: Start) -> None:
    daemon = start("--outbox-bytes", "65536")
    batch = [{"jsonrpc": "2.0", "id": number, "method": "rpc.discover"} for number in range(10)]
    with daemon.connect() as wire:
        wire.send(json.dumps(batch).encode() + b"\n")
        answers = wire.receive()
        assert len(json.dumps(answers)) > 300_000
        assert sorted(answer["id"] for answer in answers) == list(range(10))
        assert wire.ask("server.queue")["result"]["length"] == 0


def test_a_stream_goes_on_behind_an_answer_above_the_outbox_limit(start: Start) -> None:
    """The client reads nothing until the stream has ended, whose 40 KB are less than may wait."""
    daemon = start("--outbox-bytes", "65536", scenario="text=ab;repeat=400;pace_us=1000")
    daemon.load(max_new_tokens=0)
    batch = [{"jsonrpc": "2.0", "id": f"member {number}", "method": "rpc.discover"} for number in range(20)]
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        messages = [wire.receive()]
        wire.send(json.dumps(batch).encode() + b"\n")
        daemon.wait_finished()
        messages += wire.until_final(1)
    assert streamed(messages) == "ab" * 400


def _send_until_stuck(wire: Wire, other: Wire, data: bytes) -> int:
    """Send without reading until the daemon takes no more, not even after it has served another client a while."""
    sent = served = 0
    while sent < len(data) and served < 200:
        if accepted := _send_some(wire, data[sent : sent + 65_536]):
            sent += accepted
            served = 0
        else:
            other.ask("server.queue")
            served += 1
    return sent


def _exchange(wire: Wire, data: bytes, count: int) -> list[Any]:
    """Send the rest while reading; return the ids of all answers."""
    sent = 0
    ids: list[Any] = []
    while len(ids) < count:
        while sent < len(data) and (accepted := _send_some(wire, data[sent : sent + 65_536])):
            sent += accepted
        ids.append(wire.receive()["id"])
    return ids


def _send_some(wire: Wire, data: bytes) -> int:
    """Send what the kernel takes at once; return how much that was."""
    patience = wire.socket.gettimeout()
    wire.socket.setblocking(False)
    try:
        return wire.socket.send(data)
    except BlockingIOError:
        return 0
    finally:
        wire.socket.settimeout(patience)


@pytest.mark.parametrize(
    ("method", "name"),
    [("rkllm.run", "prompt_input"), ("rkllm.run", "prompt_inputs"), ("server.queue", "prompt_input")],
    ids=["run", "refused run", "refused"],
)
def test_what_a_client_has_sent_does_not_stay_when_it_is_answered(start: Start, method: str, name: str) -> None:
    """Nor until the garbage collector comes, which has no reason to for a few requests of megabytes."""
    daemon = start(scenario="text=ab", cold=True)
    daemon.load()
    text = "abcd" * (3 * MIB)
    with daemon.connect() as wire:
        for number in range(6):
            wire.ask(method, {name: text})
            if number == 1:
                before = daemon.memory_peak()
    assert daemon.memory_peak() - before < 2 * len(text)
