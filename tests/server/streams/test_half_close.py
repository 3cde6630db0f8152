"""End of file on reading is not a disconnect: requests already sent are answered to the end (protocol, section 1)."""

from __future__ import annotations

from tests.daemon import Start
from tests.wire_connection import kind, streamed

TOKENS = 3000


def test_an_unterminated_last_line_counts_as_a_line(start: Start) -> None:
    with start().connect() as wire:
        wire.send(b'{"jsonrpc":"2.0","id":7,"method":"server.queue"}')
        wire.half_close()
        messages = wire.receive_all()
    assert [message["id"] for message in messages] == [7], "answered once, then the daemon closes"
    assert messages[0]["result"]["queue"] == []


def test_an_unterminated_last_line_that_is_wrong_gets_its_error(start: Start) -> None:
    with start().connect() as wire:
        wire.send(b'{"jsonrpc":"2.0","id":7,"method":')
        wire.half_close()
        messages = wire.receive_all()
    assert [kind(message) for message in messages] == ["ParseError"]


def test_a_client_that_has_nothing_in_flight_is_closed_at_once(start: Start) -> None:
    with start().connect() as wire:
        wire.half_close()
        assert wire.receive() is None


def test_a_long_stream_goes_on_to_its_end_after_half_close(start: Start) -> None:
    daemon = start(scenario=f"text=ab;repeat={TOKENS}")
    daemon.load(max_new_tokens=TOKENS + 1)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        wire.half_close()
        messages = wire.receive_all()
    assert streamed(messages) == "ab" * TOKENS
    assert messages[-1]["result"]["finish_reason"] == "stop"


def test_everything_sent_before_the_half_close_is_answered(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        for number in range(5):
            wire.request("rkllm.run", {"prompt_input": f"number {number}"}, number)
        wire.request("server.queue", None, "last")
        wire.half_close()
        answers = {message["id"]: message for message in wire.receive_all()}
    assert answers.keys() == {0, 1, 2, 3, 4, "last"}
    for number in range(5):
        assert answers[number]["result"]["text"].endswith(f"number {number}"), "each has its own answer"


def test_a_half_closed_client_that_then_goes_has_its_run_aborted_during_prefill(start: Start) -> None:
    """Nothing is written during prefill, so only the hang-up itself can tell."""
    daemon = start(scenario="prefill_ms=600000;prefill_abort=1")
    daemon.load()
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"})
        wire.half_close()
        daemon.wait_enter("rkllm_run_async")
    daemon.wait_finished()


def test_a_half_closed_client_that_then_goes_has_its_stream_aborted(start: Start) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=500")
    daemon.load(max_new_tokens=2_000_000)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"})
        wire.half_close()
        assert wire.receive()["result"]["seq"] == 0
    daemon.wait_finished()
