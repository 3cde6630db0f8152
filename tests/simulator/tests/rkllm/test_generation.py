"""What the simulator generates, when and on which thread, and how a run is paused and aborted."""

from __future__ import annotations

import ctypes
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi.layouts.rkllm_common import (
    LLMResultCallback,
)
from tests.simulator.player import FINISH, NORMAL, WAITING, Event, Model, Simulator, stop_at

# ---- text -----------------------------------------------------------------------------------------------------------


def test_default_is_the_echo(load: Callable[..., Model]) -> None:
    model = load()
    status, recorder = model.play()
    assert (status, recorder.output) == (0, b"[user] hello")
    assert recorder.states == [NORMAL] * 6 + [FINISH]
    assert [event.token_id for event in recorder.events[:-1]] == list(range(100, 106))
    end = recorder.events[-1]
    assert (end.text, end.prefill_tokens, end.generate_tokens) == (None, 5, 6)
    assert model.play(model.input(b"hi", role=b"system", enable_thinking=True))[1].output == (
        b"<think>hm</think>[system] hi"
    )


def test_split_characters_wait_until_they_are_whole(load: Callable[..., Model]) -> None:
    recorder = load("text=a\u20acb\u00e9;tokens=2").play()[1]
    assert [(event.state, event.text) for event in recorder.events] == [
        (NORMAL, b"a"),  # a e2
        (NORMAL, "\u20ac".encode()),  # 82 ac
        (NORMAL, b"b"),  # 62 c3
        (NORMAL, "\u00e9".encode()),  # a9
        (FINISH, None),
    ]
    recorder = load("text=\u20ac;tokens=1").play()[1]
    assert [(event.state, event.text) for event in recorder.events] == [
        (WAITING, None),
        (WAITING, None),
        (NORMAL, "\u20ac".encode()),
        (FINISH, None),
    ]
    assert load("text=\u20ac;tokens=1;waiting_text=empty;finish_text=empty").play()[1].events[0].text == b""


def test_raw_delivers_bytes_as_cut(load: Callable[..., Model]) -> None:
    recorder = load("text=a\u20ac;tokens=2;utf8=raw").play()[1]
    assert [event.text for event in recorder.events] == [b"a\xe2", b"\x82\xac", None]


def test_stray_bytes_are_not_held_back(load: Callable[..., Model]) -> None:
    recorder = load(r"text=\xff\x80a\xe2\x28\xe2\x82;tokens=1").play()[1]
    assert recorder.output == b"\xff\x80a\xe2\x28\xe2\x82"
    assert recorder.states[:3] == [NORMAL] * 3


def test_blank_callbacks(load: Callable[..., Model]) -> None:
    recorder = load("text=abcd;null_text_at=0;empty_text_at=1").play()[1]
    assert [event.text for event in recorder.events] == [None, b"ab", b"", b"cd", None]
    assert recorder.states == [NORMAL] * 4 + [FINISH]


def test_repeat_and_max_new_tokens(load: Callable[..., Model], simulator: Simulator) -> None:
    recorder = load("text=ab;repeat=1000000", max_new_tokens=1000).play()[1]
    assert (len(recorder.events), recorder.output) == (1001, b"ab" * 1000)
    if simulator.is_1_3:
        model = load("text=ab;repeat=5")
        assert model.play(infer=model.infer(max_new_tokens=3))[1].output == b"ababab"


def test_stamp_is_the_callbacks_time(load: Callable[..., Model]) -> None:
    before = time.monotonic_ns()
    recorder = load("text=x;repeat=10;stamp=1").play()[1]
    stamps = list(map(int, recorder.output.split()))
    assert len(stamps) == 10
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= time.monotonic_ns()


def test_perf_can_be_zero(load: Callable[..., Model]) -> None:
    end = load("perf_zero=1").play()[1].events[-1]
    assert (end.prefill_tokens, end.generate_tokens) == (0, 0)


def test_a_million_tokens(load: Callable[..., Model], tmp_path: Path) -> None:
    source, library = tmp_path / "count.c", tmp_path / "count.so"
    source.write_text(
        "int counted; int count(void *r, void *u, int s) { (void)r, (void)u, (void)s; counted++; return 0; }"
    )
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    counter = ctypes.CDLL(str(library))
    model = load("text=ab;repeat=1000000", max_new_tokens=0)
    count = ctypes.cast(counter.count, LLMResultCallback)
    handle = ctypes.c_void_p()
    callback: object = count
    if model.callbacks is not None:
        model.callbacks.result_callback = count
        callback = ctypes.byref(model.callbacks)
    assert model.simulator.dll.rkllm_init(ctypes.byref(handle), ctypes.byref(model.param), callback) == 0
    model.handle = handle
    assert model.play()[0] == 0
    assert ctypes.c_int.in_dll(counter, "counted").value == 1_000_001


# ---- pace and threads -----------------------------------------------------------------------------------------------


def test_pace_and_prefill_last_as_long_as_they_say(load: Callable[..., Model]) -> None:
    model = load("text=x;repeat=50;pace_us=1000;prefill_ms=20;stamp=1")
    before = time.monotonic_ns()
    stamps = list(map(int, model.play()[1].output.split()))
    assert stamps[0] - before >= 20_000_000
    assert stamps[-1] - before >= 69_000_000  # 49 paces more, whenever the first token came


def test_prefill_may_take_its_time_for_each_token(load: Callable[..., Model]) -> None:
    model = load("text=x;prefill_token_us=10000;stamp=1")
    before = time.monotonic_ns()
    recorder = model.play()[1]
    assert int(recorder.output.split()[0]) - before >= recorder.events[-1].prefill_tokens * 10_000_000


def test_delay_of_a_function(load: Callable[..., Model]) -> None:
    model = load("delay.rkllm_is_running=30")
    before = time.monotonic()
    model.is_running()
    assert time.monotonic() - before >= 0.03


@pytest.mark.parametrize("text", ["hold.rkllm_run=1", "prefill_hold=1"])
def test_a_call_is_held_while_the_file_exists(
    load: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    held, trace = tmp_path / "hold", tmp_path / "trace"
    held.touch()
    monkeypatch.setenv("RKLLM_SIMULATOR_HOLD", str(held))
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(trace))
    model = load(f"text=ab;{text}")
    outputs: list[bytes] = []
    thread = threading.Thread(target=lambda: outputs.append(model.play()[1].output))
    thread.start()
    while "enter rkllm_run " not in trace.read_text():
        pass
    assert not outputs
    held.unlink()
    thread.join()
    assert outputs == [b"ab"]
    assert model.play()[1].output == b"ab", "nothing holds the next one"


def test_callbacks_come_from_the_callers_or_an_own_thread(load: Callable[..., Model]) -> None:
    here = threading.get_native_id()
    assert {event.thread for event in load().play()[1].events} == {here}
    status, recorder = load("thread=own").play()
    assert (status, recorder.output) == (0, b"[user] hello")
    assert here not in {event.thread for event in recorder.events}


def test_run_async_returns_at_once(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load()
    go_on = threading.Event()
    status, recorder = model.play(asynchronous=True, reply=lambda _event: int(not go_on.wait(300)))
    assert status == 0
    assert model.is_running() == 1
    go_on.set()
    assert recorder.ended.wait(300)
    assert recorder.output == b"[user] hello"
    assert threading.get_native_id() not in {event.thread for event in recorder.events}
    assert model.is_running() == 0
    assert model.play()[0] == 0  # FINISH means that the next run may begin
    assert model.destroy() == 0
    assert (simulator.simulator_overlaps(), simulator.simulator_complaints()) == (0, 0)


# ---- abort and pause ------------------------------------------------------------------------------------------------


def test_abort_ends_at_the_next_token(load: Callable[..., Model]) -> None:
    model = load("text=ab;repeat=100")
    assert model.abort() == -1
    status, recorder = model.play(reply=lambda event: stop_at(3)(event) and model.abort())
    assert (status, recorder.output, recorder.states[-1]) == (0, b"ab" * 4, FINISH)
    assert model.play()[1].output == b"ab" * 100


def test_abort_can_lag_and_can_end_without_finish(load: Callable[..., Model]) -> None:
    model = load("text=ab;repeat=100;abort_lag=5;finish_after_abort=0")
    recorder = model.play(reply=lambda event: stop_at(3)(event) and model.abort())[1]
    assert recorder.output == b"ab" * 9
    assert FINISH not in recorder.states


@pytest.mark.parametrize(("text", "waits"), [("prefill_ms=300", True), ("prefill_ms=600000;prefill_abort=1", False)])
def test_abort_during_prefill(load: Callable[..., Model], text: str, waits: bool) -> None:
    model = load(text)
    before = time.monotonic()
    status, recorder = model.play(asynchronous=True)
    assert (status, model.abort()) == (0, 0)
    assert recorder.ended.wait(300), "long before the prefill that does not wait would have ended"
    assert recorder.states == [FINISH]
    assert not waits or time.monotonic() - before >= 0.3


def test_pause_and_resume(load: Callable[..., Model]) -> None:
    model = load("text=abcdefgh")
    status, recorder = model.play(reply=stop_at(1))
    assert (status, recorder.output, recorder.states) == (0, b"abcd", [NORMAL, NORMAL])
    assert model.kv() == [5 + 2]
    status, recorder = model.play(b"more")
    assert (status, recorder.output, recorder.states[-1]) == (0, b"efgh", FINISH)
    assert [event.token_id for event in recorder.events[:-1]] == [102, 103]
    assert model.kv() == [5 + 2 + 4 + 2]
    assert model.play()[1].output == b"abcdefgh"


def test_finish_after_pause(load: Callable[..., Model]) -> None:
    assert load("finish_after_pause=1").play(reply=stop_at(1))[1].states == [NORMAL, NORMAL, FINISH]


def test_is_running_polarity(load: Callable[..., Model]) -> None:
    model = load()
    seen: list[int] = []

    def look(_event: Event) -> int:
        seen.append(model.is_running())
        return 0

    model.play(reply=look)
    assert seen == [1] * 6 + [0]
    assert load("is_running_inverted=1").is_running() == 1
