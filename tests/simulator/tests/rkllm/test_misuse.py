"""What the simulator notices of its caller: dead handles, memory that was freed too early, overlapping calls."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator.player import ERROR, Event, Model, Simulator


def test_dead_handles(
    load: Callable[..., Model], simulator: Simulator, model_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load()
    assert model.destroy() == 0
    for handle in (model.handle, ctypes.c_void_p(), ctypes.c_void_p(0x1234)):
        model.handle = handle
        assert model.play()[0] == -1
        assert model.play(asynchronous=True)[0] == -1
        assert model.abort() == model.is_running() == model.destroy() == -1
        assert model.set_chat_template(b"", b"", b"") == -1
        assert capfd.readouterr().err.count("SIMULATOR: dead handle") == 6
    assert load().handle.value != model.handle.value


@pytest.mark.parametrize("strict", [False, True])
def test_the_strings_of_init_may_be_freed_unless_that_is_forbidden(
    load: Callable[..., Model], capfd: pytest.CaptureFixture[str], strict: bool
) -> None:
    model = load(f"init_strings_stay={int(strict)}")
    path = ctypes.create_string_buffer(model.param.model_path)
    model.param.model_path = ctypes.cast(path, ctypes.c_char_p)
    callback = model.callbacks if model.callbacks is not None else model._callback
    argument = callback if model.callbacks is None else ctypes.byref(model.callbacks)
    assert model.simulator.dll.rkllm_init(ctypes.byref(model.handle), ctypes.byref(model.param), argument) == 0
    assert model.play()[0] == 0
    path[3] = b"!"
    assert model.play()[0] == (-1 if strict else 0)
    assert ("SIMULATOR: model_path was freed" in capfd.readouterr().err) is strict


def test_inputs_freed_during_the_run_are_noticed(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load()
    prompt = ctypes.create_string_buffer(b"hello")
    given = model.input(ctypes.cast(prompt, ctypes.c_char_p))  # type: ignore[arg-type]

    def overwrite(_event: Event) -> int:
        prompt.value = b"bye"
        return 0

    status, recorder = model.play(given, reply=overwrite)
    assert (status, recorder.states[-1]) == (-1, ERROR)
    assert "SIMULATOR: prompt_input was freed" in capfd.readouterr().err


def test_overlap_is_counted(
    load: Callable[..., Model], simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    model, other = load(), load()
    inside, go_on = threading.Event(), threading.Event()

    def wait(_event: Event) -> int:
        inside.set()
        return int(not go_on.wait(300))

    model.play(asynchronous=True, reply=wait)
    assert inside.wait(10)
    recorder = model.recorder
    assert other.play()[0] == 0
    assert model.set_chat_template(b"", b"", b"") == -1
    assert simulator.simulator_overlaps() == 1
    log = capfd.readouterr().err
    assert "SIMULATOR: overlap: rkllm_run was entered while rkllm_run_async is inside" in log
    assert "SIMULATOR: rkllm_set_chat_template was entered while its handle is busy" in log
    go_on.set()
    assert recorder.ended.wait(300)
    assert recorder.output == b"[user] hello"


def test_destroy_during_a_run(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("text=ab;repeat=1000000;pace_us=100", max_new_tokens=0)
    inside = threading.Event()

    def enter(_event: Event) -> int:
        inside.set()
        return 0

    recorder = model.play(asynchronous=True, reply=enter)[1]
    assert inside.wait(10)
    assert model.destroy() == 0
    assert recorder.states[-1] == ERROR
    assert simulator.simulator_overlaps() == 1
