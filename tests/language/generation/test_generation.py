"""Generation: what C calls, what the loop makes of it, and what must never reach C."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rkllmd.abi.layouts.rkllm import LLMCallState, LLMResultCallback
from rkllmd.chat.answers.dialect import DIALECTS
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language import generation as streaming
from rkllmd.language.generation import ERROR
from rkllmd.language.texts.transcript import FINISH, NORMAL, Transcript
from tests.language.generation.generations import CONTINUE, EURO, NULL, PAUSE, Loop, entries, generation, results, token

# Generation: what C calls, and what the loop makes of it


def test_callbacks_become_partials_and_a_final(loop: Loop) -> None:
    run = generation(loop)
    for text in (b"Hel", b"lo"):
        assert run.on_result(token(text), NORMAL) == CONTINUE
    assert run.on_result(NULL, FINISH) == CONTINUE
    loop.run()
    assert [partial["text"] for partial in loop.partials] == ["Hel", "lo"]
    assert run.final() == {"text": "", "token_id": 0, "_callback_state": 2, "seq": 2, "finish_reason": "stop"}
    assert run.finished.is_set()
    assert run.ended.is_set()


def test_without_partials_the_final_result_has_the_whole_text(loop: Loop) -> None:
    run = generation(loop, streamed=False)
    run.on_result(token(b"Hel"), NORMAL)
    run.on_result(token(b"lo" + EURO[:1]), NORMAL)
    run.on_result(NULL, FINISH)
    assert run.final() == {"text": "Hello\ufffd", "token_id": 0, "_callback_state": 2, "finish_reason": "stop"}


def test_what_the_loop_has_not_seen_yet_goes_out_before_the_final(loop: Loop) -> None:
    run = generation(loop)
    run.on_result(token(b"a"), NORMAL)
    run.on_result(NULL, FINISH)
    assert run.final()["seq"] == 1
    assert [partial["text"] for partial in loop.partials] == ["a"]
    loop.run()
    assert len(loop.partials) == 1, "nothing twice"


def test_the_figures_of_the_run(loop: Loop) -> None:
    run = generation(loop)
    last = results((0, None))
    last[0].perf.prefill_time_ms = 1.5
    last[0].perf.generate_tokens = 7
    run.on_result(last, FINISH)
    assert run.final()["perf"] == {
        "prefill_time_ms": 1.5,
        "prefill_tokens": 0,
        "generate_time_ms": 0.0,
        "generate_tokens": 7,
        "memory_usage_mb": 0.0,
    }


def test_text_is_copied_inside_the_callback(loop: Loop) -> None:
    """The runtime's memory is valid only until the callback returns."""
    run = generation(loop)
    memory = ctypes.create_string_buffer(b"good")
    shown = token(None)
    ctypes.cast(ctypes.addressof(shown[0]), ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(memory)
    run.on_result(shown, NORMAL)
    memory.value = b"bad!"
    shown[0].token_id = 5
    loop.run()
    assert [(partial["text"], partial["token_id"]) for partial in loop.partials] == [("good", 100)]


def test_an_error_state_ends_the_run(loop: Loop) -> None:
    run = generation(loop)
    run.on_result(token(b"a"), NORMAL)
    assert not run.ended.is_set()
    assert run.on_result(NULL, ERROR) == CONTINUE
    assert run.failed
    assert run.ended.is_set()
    assert not run.finished.is_set()


def test_pause_takes_effect_at_the_next_token(loop: Loop) -> None:
    run = generation(loop)
    assert run.on_result(token(b"a"), NORMAL) == CONTINUE
    run.pause_requested = True
    assert run.on_result(token(b"b"), NORMAL) == PAUSE
    assert run.paused
    assert run.ended.is_set()
    assert not run.finished.is_set()
    assert run.final()["finish_reason"] == "pause"
    assert [partial["text"] for partial in loop.partials] == ["a", "b"], "the token that paused is not lost"


@pytest.mark.parametrize(
    ("limit", "tokens", "reason"), [(-1, 3, "stop"), (0, 3, "stop"), (4, 3, "stop"), (3, 3, "length"), (2, 3, "length")]
)
def test_why_a_run_ended(loop: Loop, limit: int, tokens: int, reason: str) -> None:
    run = generation(loop, max_new_tokens=limit)
    for _ in range(tokens):
        run.on_result(token(b"x"), NORMAL)
    assert run.final()["finish_reason"] == reason
    run.abort_requested = True
    assert run.final()["finish_reason"] == "abort"


@pytest.mark.parametrize(
    ("text", "limit", "reason"),
    [
        ('<tool_call>{"name": "search"}</tool_call>', -1, "tool_calls"),
        ('<tool_call>{"name": "search"}</tool_call>', 1, "length"),
        ('<tool_call>{"name": "search"}</tool_call>!', -1, "stop"),
        ("Hello", -1, "stop"),
    ],
)
def test_an_answer_with_calls_says_so_unless_something_else_has_ended_it(text: str, limit: int, reason: str) -> None:
    loop = Loop()
    reader = AnswerReader(DIALECTS["hermes"], tools=[{"name": "search"}], stop=["!"])
    run = generation(loop, max_new_tokens=limit, reader=reader)
    run.on_result(token(text.encode()), NORMAL)
    loop.run()
    assert run.final()["finish_reason"] == reason


@pytest.mark.parametrize(
    ("state", "fails"), [(state, fails) for state in LLMCallState for fails in (ValueError, SystemExit)]
)
def test_no_exception_reaches_c(loop: Loop, state: int, fails: type[BaseException]) -> None:
    class Failing:
        def __bool__(self) -> bool:
            return True

        def __getitem__(self, _: int) -> Any:
            raise fails("in the callback")

    run = generation(loop)
    with capture_logs() as logs:
        assert run.on_result(cast("Any", Failing()), state) == CONTINUE
    expected = [] if state == ERROR else ["result_callback_failed"]
    assert [entry["event"] for entry in logs] == expected
    assert run.ended.is_set() == (state in (FINISH, ERROR)), "whoever waits for the end is not forgotten"
    lost = None if run.ended.is_set() else f"{fails.__name__}: in the callback"
    assert run.lost == lost, "an answer that is not whole is known to be so"


def test_null_where_a_token_was_due_is_logged(loop: Loop) -> None:
    run = generation(loop)
    with capture_logs() as logs:
        assert run.on_result(NULL, NORMAL) == CONTINUE
    assert [entry["event"] for entry in logs] == ["result_callback_failed"]
    assert run.on_result(token(b"a"), NORMAL) == CONTINUE
    loop.run()
    assert [partial["text"] for partial in loop.partials] == ["a"]
    assert run.lost is None


def test_called_by_c_from_a_thread_of_its_own(loop: Loop) -> None:
    run = generation(loop)
    callback = LLMResultCallback(lambda shown, _userdata, state: run.on_result(shown, state))
    returned: list[int] = []

    def runtime() -> None:
        returned.extend(callback(token(b"%d" % n, n), None, NORMAL) for n in range(1000))
        returned.append(callback(NULL, None, FINISH))

    thread = threading.Thread(target=runtime)
    thread.start()
    while not run.finished.wait(0.0001):
        loop.turn()
    thread.join()
    loop.run()
    assert returned == [CONTINUE] * 1001
    assert [partial["seq"] for partial in loop.partials] == list(range(1000))
    assert "".join(partial["text"] for partial in loop.partials) == "".join(map(str, range(1000)))


def test_the_loop_is_woken_once_for_what_gathers(loop: Loop) -> None:
    run = generation(loop)
    for _ in range(50):
        run.on_result(token(b"x"), NORMAL)
    assert loop.wakes == 1
    loop.run()
    assert len(loop.sent) == 1
    run.on_result(token(b"y"), NORMAL)
    loop.run()
    assert len(loop.partials) == 51, "and again when it had gone to sleep"


def test_the_loop_works_in_slices(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_DRAIN_AT_ONCE", 3)
    run = generation(loop)
    for _ in range(8):
        run.on_result(token(b"x"), NORMAL)
    loop.turn()
    assert [len(piece) for piece in loop.sent] == [3]
    loop.run()
    assert [len(piece) for piece in loop.sent] == [3, 3, 2]
    assert [partial["seq"] for partial in loop.partials] == list(range(8))


def test_at_the_end_everything_is_drained_at_once(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_DRAIN_AT_ONCE", 3)
    run = generation(loop)
    for _ in range(8):
        run.on_result(token(b"x"), NORMAL)
    run.drain_rest()
    assert len(loop.partials) == 8
    run.drain_rest()
    loop.run()
    assert len(loop.partials) == 8


class Room:
    """The event on which a callback waits for the loop; the loop gets its turn meanwhile, or does not."""

    def __init__(self, meanwhile: Callable[[], None], before: Callable[[], None] = lambda: None) -> None:
        self.waits: list[float] = []
        self._meanwhile = meanwhile
        self._before = before

    def clear(self) -> None:
        """Let the loop be quicker than the wait."""
        self._before()

    def set(self) -> None:
        """Do nothing."""

    def wait(self, timeout: float) -> None:
        """Note the wait, and let the loop have its turn."""
        self.waits.append(timeout)
        self._meanwhile()


@pytest.mark.parametrize("loop_is_stuck", [False, True])
def test_the_buffer_is_bounded(loop: Loop, monkeypatch: pytest.MonkeyPatch, loop_is_stuck: bool) -> None:
    """A runtime far ahead of the loop waits for it, and never for long."""
    monkeypatch.setattr(streaming, "_BUFFER_LIMIT", 10)
    run = generation(loop)
    room = Room(meanwhile=(lambda: None) if loop_is_stuck else loop.run)
    monkeypatch.setattr(run, "_has_space", room)
    for _ in range(30):
        assert run.on_result(token(b"x"), NORMAL) == CONTINUE
    assert room.waits == [1.0] * (20 if loop_is_stuck else 2)
    run.on_result(NULL, FINISH)
    run.final()
    assert [partial["seq"] for partial in loop.partials] == list(range(30)), "nothing is lost either way"


def test_a_callback_does_not_wait_for_room_that_is_there_by_then(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_BUFFER_LIMIT", 10)
    run = generation(loop)
    room = Room(meanwhile=lambda: pytest.fail("it waited"), before=loop.run)
    monkeypatch.setattr(run, "_has_space", room)
    for _ in range(30):
        run.on_result(token(b"x"), NORMAL)
    loop.run()
    assert len(loop.partials) == 30


def test_a_drained_buffer_lets_the_callback_go_on(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_BUFFER_LIMIT", 4)
    run = generation(loop)
    thread = threading.Thread(target=lambda: [run.on_result(token(b"x"), NORMAL) for _ in range(100)])
    thread.start()
    while thread.is_alive():
        loop.turn()
        thread.join(0.0001)
    loop.run()
    assert len(loop.partials) == 100


def test_progress_is_reported_after_the_partials(loop: Loop) -> None:
    run = generation(loop)
    seen: list[int] = []
    run.on_progress = lambda: seen.append(len(loop.partials))
    run.on_result(token(b"x"), NORMAL)
    loop.run()
    assert seen == [1]


def test_a_failure_on_the_loop_is_logged_and_the_stream_goes_on(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_DRAIN_AT_ONCE", 2)
    run = generation(loop)
    failures: Iterator[Exception | None] = iter([ValueError("once"), None, None])

    def progress() -> None:
        failure = next(failures)
        if failure is not None:
            raise failure

    run.on_progress = progress
    for _ in range(5):
        run.on_result(token(b"x"), NORMAL)
    with capture_logs() as logs:
        loop.run()
    assert [entry["event"] for entry in logs] == ["partial_results_failed"]
    assert [partial["seq"] for partial in loop.partials] == list(range(5))


def test_a_batch_of_results(loop: Loop) -> None:
    run = generation(loop, n_batch=2)
    run.on_result(results((1, b"a"), (2, b"b")), NORMAL)
    run.on_result(results((3, b"c"), (-1, None)), NORMAL)
    loop.run()
    assert [partial["batch"] for partial in loop.partials] == [
        [{"text": "a", "token_id": 1}, {"text": "b", "token_id": 2}],
        [{"text": "c", "token_id": 3}, {"text": "", "token_id": -1}],
    ]


# Hidden states and logits


@settings(deadline=None)
@given(st.lists(st.sampled_from(["token", "turn", "run"]), max_size=40), st.integers(1, 4))
def test_any_order_of_tokens_and_turns_gives_each_token_once(events: list[str], at_once: int) -> None:
    loop = Loop()
    run = generation(loop)
    tokens = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_DRAIN_AT_ONCE", at_once)
        for event in events:
            if event == "token":
                run.on_result(token(b"%d " % tokens), NORMAL)
                tokens += 1
            else:
                getattr(loop, event)()
            assert tokens == len(loop.partials) or loop.scheduled, "what waits has a wake-up under way"
        final = run.final()
    assert final["seq"] == tokens
    assert [partial["text"] for partial in loop.partials] == [f"{n} " for n in range(tokens)]


def test_a_batch_that_shrinks_is_an_error_and_not_a_mix_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        Transcript(2).partial(NORMAL, entries(b"a"))


def test_when_its_own_entry_has_ended_c_is_told_to_stop(loop: Loop) -> None:
    """The others are nobody's: what they say is not looked at."""
    run = generation(loop)
    run.has_others = True
    told: list[bool] = []
    run.on_progress = lambda: told.append(run.is_over)
    for own in ((100, b"a"), (-1, None), (-1, None)):
        run.on_result(results(own, (100, b"x")), NORMAL)
        loop.run()
    assert told == [False, True, True], "again as long as tokens come"
    run.on_result(results((0, None), (0, None)), FINISH)
    loop.run()
    assert [partial["text"] for partial in loop.partials] == ["a"]
    assert run.final()["finish_reason"] == "stop"
