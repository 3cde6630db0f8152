"""From result callbacks to partial results: characters, numbers, the end, and what must never reach C."""

from __future__ import annotations

import base64
import ctypes
import itertools
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rkllmd.abi.json.tensors import tensor_to_json
from rkllmd.abi.layouts.rkllm import LLMCallState, LLMResultCallback, RKLLMInferMode, RKLLMResult
from rkllmd.language import generation as streaming
from rkllmd.language.generation import ERROR, FINISH, NORMAL, WAITING, Generation, TextJoiner, Token, Transcript

EURO = "€".encode()
SAMPLE = "aä€😀\u0000\ufeffz"
CONTINUE, PAUSE, FREE = 0, 1, 2


def joined(*callbacks: tuple[int, bytes | None]) -> list[str]:
    """Return the text of each callback, and of the end."""
    joiner = TextJoiner()
    texts = [joiner.add(state, data) for state, data in callbacks]
    texts.append(joiner.end())
    assert "".join(texts) == "".join(joiner.parts), "what was sent is what is kept"
    assert joiner.end() == "", "it has ended"
    return texts


# TextJoiner


@pytest.mark.parametrize("cut", range(len(SAMPLE.encode()) + 1))
def test_a_text_cut_at_any_byte(cut: int) -> None:
    raw = SAMPLE.encode()
    first, second, rest = joined((NORMAL, raw[:cut]), (NORMAL, raw[cut:]))
    assert first + second + rest == SAMPLE
    assert first == raw[:cut].decode(errors="ignore"), "whole characters go out at once"
    assert rest == ""


def test_a_text_in_single_bytes() -> None:
    assert "".join(joined(*[(NORMAL, bytes([byte])) for byte in SAMPLE.encode()])) == SAMPLE


@pytest.mark.parametrize("held", [None, b""])
def test_waiting_that_shows_nothing(held: bytes | None) -> None:
    assert joined((WAITING, held), (WAITING, held), (NORMAL, EURO)) == ["", "", "€", ""]


def test_waiting_that_shows_bytes_which_the_next_text_repeats() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, EURO)) == ["", "€", ""]
    assert joined((WAITING, EURO[:1]), (WAITING, EURO[:2]), (NORMAL, EURO)) == ["", "", "€", ""]
    assert joined((WAITING, b"a" + EURO[:1]), (NORMAL, b"a" + EURO)) == ["", "a€", ""]


def test_waiting_that_shows_bytes_which_the_next_text_continues() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, EURO[2:])) == ["", "€", ""]
    assert joined((WAITING, EURO[:1]), (WAITING, EURO[1:2]), (NORMAL, EURO[2:] + b"!")) == ["", "", "€!", ""]
    assert joined((NORMAL, EURO[:1]), (WAITING, EURO[1:2]), (NORMAL, EURO[2:])) == ["", "", "€", ""]


def test_waiting_bytes_that_never_complete_are_replaced_and_not_lost() -> None:
    assert joined((WAITING, EURO[:2]), (NORMAL, b"x")) == ["", "\ufffdx", ""]
    assert joined((NORMAL, b"a"), (WAITING, EURO[:2])) == ["a", "", "\ufffd"]
    assert joined((WAITING, EURO[:2]), (NORMAL, None), (NORMAL, b"")) == ["", "", "", "\ufffd"]


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_callback_without_text(nothing: bytes | None) -> None:
    assert joined((NORMAL, EURO[:1]), (NORMAL, nothing), (NORMAL, EURO[1:])) == ["", "", "€", ""]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\x80", "\ufffd"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf5\x80\x80\x80", "\ufffd" * 4),
        (EURO[:2], "\ufffd"),
        (EURO[:2] + b"a", "\ufffda"),
        (b"\xf0\x9f\x98", "\ufffd"),
    ],
)
def test_stray_bytes_become_replacement_characters(raw: bytes, text: str) -> None:
    assert "".join(joined((NORMAL, raw))) == text
    assert "".join(joined(*[(NORMAL, bytes([byte])) for byte in raw])) == text


PIECES = st.lists(
    st.binary(max_size=6)
    | st.text(max_size=4).map(str.encode)
    | st.sampled_from([b"\xe2", b"\x82", b"\xac", b"\xf0\x9f"]),
    max_size=12,
)


@settings(deadline=None)
@given(PIECES)
@example([b"\xe2", b"\x82\xac"])
@example([b"\xf0\x9f", b"", b"\x98", b"a"])
def test_joined_is_the_whole_text_however_it_is_cut(pieces: list[bytes]) -> None:
    texts = joined(*[(NORMAL, piece) for piece in pieces])
    assert "".join(texts) == b"".join(pieces).decode("utf-8", "replace")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([NORMAL, WAITING]), st.none() | st.binary(max_size=5)), max_size=12))
def test_the_text_is_valid_whatever_comes(callbacks: list[tuple[int, bytes | None]]) -> None:
    for text in joined(*callbacks):
        assert text.encode().decode() == text
        orjson.dumps(text)


@settings(deadline=None)
@given(st.text(max_size=12), st.data())
def test_held_back_bytes_are_neither_lost_nor_doubled(text: str, data: st.DataObject) -> None:
    """As a runtime would cut it: what leaves a character unfinished is WAITING, and then repeated or continued."""
    raw = text.encode()
    cuts = sorted({0, len(raw), *data.draw(st.lists(st.integers(0, len(raw)), max_size=6))})
    repeats = data.draw(st.booleans())
    callbacks: list[tuple[int, bytes | None]] = []
    start = 0
    for before, cut in itertools.pairwise(cuts):
        piece = raw[start:cut] if repeats else raw[before:cut]
        try:
            raw[start:cut].decode()
        except UnicodeDecodeError:
            callbacks.append((WAITING, piece))
        else:
            callbacks.append((NORMAL, piece))
            start = cut
    assert "".join(joined(*callbacks)) == text


# Transcript


def test_partials_are_numbered_without_a_gap() -> None:
    transcript = Transcript(1)
    states = [NORMAL, WAITING, NORMAL, NORMAL]
    partials = [transcript.partial(state, [(100 + n, b"x")]) for n, state in enumerate(states)]
    assert [partial["seq"] for partial in partials] == [0, 1, 2, 3]
    assert [partial["_callback_state"] for partial in partials] == states
    assert [partial["token_id"] for partial in partials] == [100, 101, 102, 103]
    assert transcript.tokens == 4


def test_a_partial_that_waits_has_no_text() -> None:
    transcript = Transcript(1)
    assert transcript.partial(WAITING, [(7, EURO[:1])]) == {"text": "", "token_id": 7, "_callback_state": 1, "seq": 0}
    assert transcript.partial(NORMAL, [(8, EURO)]) == {"text": "€", "token_id": 8, "_callback_state": 0, "seq": 1}


def test_the_final_text_is_the_whole_or_the_rest() -> None:
    for whole, text in ((True, "a\ufffd"), (False, "\ufffd")):
        transcript = Transcript(1)
        transcript.partial(NORMAL, [(7, b"a" + EURO[:1])])
        assert transcript.final(whole=whole) == {"text": text, "token_id": 0, "_callback_state": 2}


def test_a_batch_has_a_text_for_each_entry() -> None:
    transcript = Transcript(2)
    assert transcript.partial(NORMAL, [(1, EURO[:1]), (2, b"b")]) == {
        "batch": [{"text": "", "token_id": 1}, {"text": "b", "token_id": 2}],
        "_callback_state": 0,
        "seq": 0,
    }
    # A finished entry has a negative token_id.
    assert transcript.partial(NORMAL, [(3, EURO[1:]), (-1, None)])["batch"] == [
        {"text": "€", "token_id": 3},
        {"text": "", "token_id": -1},
    ]
    assert transcript.final(whole=True) == {
        "batch": [{"text": "€", "token_id": 0}, {"text": "b", "token_id": 0}],
        "_callback_state": 2,
    }


# Generation: what C calls, and what the loop makes of it


class Loop:
    """The event loop and the client of one run, by hand."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []
        self.wakes = 0
        self.sent: list[list[dict[str, Any]]] = []

    def wake(self, drain: Callable[[], None]) -> None:
        """Schedule, as the callbacks do."""
        self.wakes += 1
        self.scheduled.append(drain)

    def turn(self) -> None:
        """Run what is scheduled now."""
        scheduled, self.scheduled = self.scheduled, []
        for drain in scheduled:
            drain()

    def run(self) -> None:
        """Run until nothing is scheduled."""
        while self.scheduled:
            self.turn()

    @property
    def partials(self) -> list[dict[str, Any]]:
        """Return what the client has got."""
        return [partial for piece in self.sent for partial in piece]


@pytest.fixture
def loop() -> Loop:
    return Loop()


def generation(
    loop: Loop,
    *,
    mode: int = RKLLMInferMode.RKLLM_INFER_GENERATE,
    n_batch: int = 1,
    max_new_tokens: int = -1,
    can_free_buffer: bool = True,
    streamed: bool = True,
) -> Generation:
    return Generation(
        mode=mode,
        n_batch=n_batch,
        max_new_tokens=max_new_tokens,
        can_free_buffer=can_free_buffer,
        wake=loop.wake,
        send=loop.sent.append if streamed else None,
    )


def results(*entries: tuple[int, bytes | None]) -> Any:
    """Return what C gives to a callback: a pointer to one RKLLMResult for each batch entry."""
    array = (RKLLMResult * len(entries))()
    for result, (token_id, text) in zip(array, entries, strict=True):
        result.token_id, result.text = token_id, text
    return ctypes.cast(array, ctypes.POINTER(RKLLMResult))


def token(text: bytes | None, token_id: int = 100) -> Any:
    return results((token_id, text))


NULL = ctypes.POINTER(RKLLMResult)()


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
        assert run.on_result(Failing(), state) == CONTINUE
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


def with_tensors(*entries: tuple[list[float], list[float]], width: int = 2) -> tuple[Any, list[Any]]:
    """Return results with hidden states and logits of ``width`` columns, and the memory that C would own."""
    array = (RKLLMResult * len(entries))()
    memory: list[Any] = []
    for result, (hidden, logits) in zip(array, entries, strict=True):
        for values, tensor, name, size in (
            (hidden, result.last_hidden_layer, "hidden_states", "embd_size"),
            (logits, result.logits, "logits", "vocab_size"),
        ):
            if values:
                numbers = (ctypes.c_float * len(values))(*values)
                memory.append(numbers)
                setattr(tensor, name, ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float)))
                setattr(tensor, size, width)
                tensor.num_tokens = len(values) // width
    return ctypes.cast(array, ctypes.POINTER(RKLLMResult)), memory


def numbers(tensor: dict[str, Any]) -> list[float]:
    raw = base64.b64decode(tensor["data"])
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize(("rows", "size"), [(1 << 13, 2**31), (1 << 14, 2**32)])
def test_a_tensor_that_is_too_large_to_be_copied_is_no_answer_without_it(loop: Loop, rows: int, size: int) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS, streamed=False)
    shown, _memory = with_tensors(([], [1, 2]))
    shown[0].logits.vocab_size, shown[0].logits.num_tokens = 1 << 16, rows
    with capture_logs():
        run.on_result(shown, NORMAL)
    assert run.tensors(tensor_to_json) == {}
    assert run.lost == f"OverflowError: a tensor of {size} bytes is too large: at most 2147483647 can be answered"


@pytest.mark.parametrize(("can_free", "returned"), [(True, FREE), (False, CONTINUE)])
def test_tensors_are_copied_and_the_runtimes_buffer_is_freed_where_it_can_be(
    loop: Loop, can_free: bool, returned: int
) -> None:
    run = generation(
        loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER, can_free_buffer=can_free, streamed=False
    )
    shown, memory = with_tensors(([1, 2, 3, 4], []))
    assert run.on_result(shown, NORMAL) == returned
    memory[0][0] = 99
    tensors = run.tensors(tensor_to_json)
    assert tensors.keys() == {"last_hidden_layer"}
    layer = tensors["last_hidden_layer"]
    assert (layer["embd_size"], layer["num_tokens"]) == (2, 2)
    assert (layer["hidden_states"]["dtype"], layer["hidden_states"]["shape"]) == ("float32", [2, 2])
    assert numbers(layer["hidden_states"]) == [1, 2, 3, 4]
    assert loop.partials == []


def test_logits(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    run.on_result(with_tensors(([], [0.5, -0.5]))[0], NORMAL)
    run.on_result(NULL, FINISH)
    tensors = run.tensors(tensor_to_json)
    assert tensors.keys() == {"logits"}
    assert (tensors["logits"]["vocab_size"], tensors["logits"]["num_tokens"]) == (2, 1)
    assert numbers(tensors["logits"]["logits"]) == [0.5, -0.5]


def test_tensors_of_a_batch_are_a_list(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS, n_batch=2)
    run.on_result(with_tensors(([], [1, 2]), ([], [3, 4]))[0], NORMAL)
    assert [numbers(entry["logits"]) for entry in run.tensors(tensor_to_json)["logits"]] == [[1, 2], [3, 4]]


def test_tensors_of_several_callbacks_are_a_list(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    for row in ([1.0, 2.0], [3.0, 4.0]):
        run.on_result(with_tensors(([], row))[0], NORMAL)
    assert [numbers(entry["logits"]) for entry in run.tensors(tensor_to_json)["logits"]] == [[1, 2], [3, 4]]


def test_a_run_without_tensors_has_none(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    run.on_result(results((0, None)), NORMAL)
    assert run.tensors(tensor_to_json) == {}


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


def entries(*texts: bytes | None) -> list[Token]:
    return [(100, text) for text in texts]


def test_a_batch_that_shrinks_is_an_error_and_not_a_mix_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        Transcript(2).partial(NORMAL, entries(b"a"))
