"""What the simulator writes into the trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator.player import Model, Simulator


def test_trace(
    load: Callable[..., Model], simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    before = time.monotonic_ns()
    model = load("trace_callbacks=1;text=abcd")
    model.play()
    recorder = model.play(asynchronous=True)[1]
    assert recorder.ended.wait(300)
    model.destroy()
    lines = [line.split() for line in path.read_text().splitlines()]
    assert all(before <= int(line[0]) <= time.monotonic_ns() for line in lines)
    here = [line[2:4] for line in lines if int(line[1]) == threading.get_native_id()]
    assert here == [
        ["begins", "process"],
        ["enter", "rkllm_createDefaultParam"],
        ["leave", "rkllm_createDefaultParam"],
        ["enter", "rkllm_init"],
        ["leave", "rkllm_init"],
        ["enter", "rkllm_run"],
        ["callback", "normal"],
        ["callback", "normal"],
        ["callback", "finish"],
        ["leave", "rkllm_run"],
        ["enter", "rkllm_run_async"],
        ["leave", "rkllm_run_async"],
        ["enter", "rkllm_destroy"],
        ["leave", "rkllm_destroy"],
    ]
    elsewhere = [line[2:4] for line in lines if int(line[1]) != threading.get_native_id()]
    assert elsewhere == [
        ["callback", "normal"],
        ["callback", "normal"],
        ["finished", "rkllm_run_async"],
        ["callback", "finish"],
    ]
    assert simulator.simulator_calls() == 5


def test_trace_of_returning_callbacks(
    load: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    load("trace_callbacks=2;text=ab").play()
    lines = [line.split()[2:] for line in path.read_text().splitlines()]
    assert lines[-6:-1] == [
        ["enter", "rkllm_run", lines[-6][2]],
        ["callback", "normal", "1"],
        ["resumed", "normal", "0"],
        ["callback", "finish", "1"],
        ["resumed", "finish", "0"],
    ]


def test_the_number_in_a_prompt_is_traced_once_for_each_run(
    load: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    model = load("trace_inputs=1")
    for prompt in (b"job 17 of 20", b"job 18", b"none", b"job 17 of 20"):
        model.play(prompt)
    inputs = [line.split()[2:] for line in path.read_text().splitlines() if line.split()[2] == "input"]
    assert inputs == [["input", "prompt", number] for number in ("17", "18", "0", "17")]
