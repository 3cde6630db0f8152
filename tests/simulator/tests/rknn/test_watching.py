"""What RKNN's simulator notices of its caller, and the trace of the calls."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi.layouts import rknn
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.layouts.rknn_matmul import rknn_matmul_type
from tests.simulator.build import build_rknn
from tests.simulator.rknn_player import Matmul, RknnSimulator
from tests.simulator.tests.rknn.models import ANY, IMAGE, ROOT, SCALED, TWO, Script, matmul_info
from tests.simulator.trace import live, overlaps

# ---- what it watches ------------------------------------------------------------------------------------------------


def elsewhere(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_another_thread(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    memory = context.create_mem(16)
    elsewhere(lambda: context.set_core_mask(1))
    elsewhere(lambda: context.mem_sync(memory, 1))
    assert context.destroy_mem(memory) == context.destroy() == 0
    complaints += ["thread: rknn_set_core_mask", "thread: rknn_mem_sync", "thread: rknn_mem_sync"]


def test_two_calls_at_once(
    simulator: RknnSimulator, script: Script, complaints: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "hold"
    held.touch()
    monkeypatch.setenv("RKLLM_SIMULATOR_HOLD", str(held))
    script("log=none;hold.rknn_run=1")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    other: list[int] = []

    def enter() -> None:
        while simulator.simulator_calls() < 3:
            time.sleep(0.001)
        other.append(simulator.rknn_matmul_create(None, None, None))

    def let_go() -> None:
        while simulator.simulator_complaints() < 1:
            time.sleep(0.001)
        held.unlink()

    threads = [threading.Thread(target=work) for work in (enter, let_go)]
    for thread in threads:
        thread.start()
    assert context.run(None) == 0
    for thread in threads:
        thread.join()
    assert other == [-5]
    context.destroy()
    complaints.append("overlap: rknn_matmul_create was entered while rknn_run is inside")


def test_dead_contexts_and_memories(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    memory, late = context.create_mem(16), context.create_mem(16)
    assert context.destroy_mem(memory) == 0
    assert context.destroy_mem(memory) == rknn_error.RKNN_ERR_PARAM_INVALID
    assert context.destroy() == 0
    assert context.run(None) == rknn_error.RKNN_ERR_CTX_INVALID
    assert context.destroy() == rknn_error.RKNN_ERR_CTX_INVALID
    assert not context.create_mem(16)
    assert not context.create_mem2(16, 0)
    assert context.destroy_mem(late) == rknn_error.RKNN_ERR_CTX_INVALID
    matmul = Matmul(simulator, matmul_info(rknn_matmul_type.RKNN_INT8_MM_INT8_TO_INT32, 1, 1, 1))
    assert simulator.rknn_run(matmul.handle, None) == rknn_error.RKNN_ERR_CTX_INVALID
    matmul.close()
    assert simulator.live() == (0, 0, 0)
    complaints += [
        "dead memory",
        "is destroyed while 1 of its memories live",
        "given to rknn_run",
        "given to rknn_destroy",
        "given to rknn_create_mem",
        "given to rknn_create_mem2",
        "is destroyed after it",
        "given to rknn_run",
    ]
    assert simulator.simulator_complaints() == len(complaints)


def test_outputs_that_are_not_released(simulator: RknnSimulator, complaints: list[str]) -> None:
    context = simulator.init(ANY)
    context.play(IMAGE)
    first, second = rknn.rknn_output(), rknn.rknn_output()
    assert context.outputs_get(1, ctypes.byref(first), None) == context.outputs_get(1, ctypes.byref(second), None) == 0
    assert context.outputs_release(1, ctypes.byref(first)) == 0
    assert context.outputs_release(1, ctypes.byref(first)) == rknn_error.RKNN_ERR_OUTPUT_INVALID
    context.destroy()
    complaints += ["released twice", "with 1 outputs not released"]


# ---- trace ----------------------------------------------------------------------------------------------------------


def test_trace(simulator: RknnSimulator, traced: Callable[[], list[list[str]]]) -> None:
    context = simulator.init(ANY)
    memory = context.create_mem(16)
    context.run(None)
    context.destroy_mem(memory)
    context.destroy()
    lines = traced()
    assert all(len(line) == 5 and int(line[1]) == threading.get_native_id() for line in lines)
    handle = str(context.handle.value)
    assert [line[2:] for line in lines] == [
        ["begins", "process", str(os.getpid())],
        ["enter", "rknn_init", "0"],
        *lives(1, 0),
        ["leave", "rknn_init", "0"],
        ["enter", "rknn_create_mem", handle],
        *lives(1, 1),
        ["leave", "rknn_create_mem", "0"],
        ["enter", "rknn_run", handle],
        ["leave", "rknn_run", "-8"],
        ["enter", "rknn_destroy_mem", handle],
        *lives(1, 0),
        ["leave", "rknn_destroy_mem", "0"],
        ["enter", "rknn_destroy", handle],
        *lives(0, 0),
        ["leave", "rknn_destroy", "0"],
    ]
    assert live(lines) == {"contexts": 0, "memories": 0, "matmuls": 0}
    assert live(lines[:10])["memories"] == 1
    assert overlaps(lines) == []


def lives(contexts: int, memories: int) -> list[list[str]]:
    return [["live", "contexts", str(contexts)], ["live", "memories", str(memories)], ["live", "matmuls", "0"]]


def story(text: str) -> list[list[str]]:
    """Return a trace of "event name value" pieces."""
    return [["0", "1", *[*piece.split(), "0"][:3]] for piece in text.split(", ")]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("enter rkllm_run, leave rkllm_run, enter rknn_run, submitted rknn_run, finished rknn_run, leave rknn_run", 0),
        ("enter rkllm_run, enter rknn_run, leave rknn_run, leave rkllm_run", 1),
        ("enter rkllm_run, enter rknn_set_core_mask, leave rknn_set_core_mask, leave rkllm_run", 0),
        ("enter rkllm_run_async, leave rkllm_run_async, enter rknn_init, leave rknn_init, finished rkllm_run_async", 1),
        ("enter rkllm_run_async, finished rkllm_run_async, leave rkllm_run_async, enter rknn_init, leave rknn_init", 0),
        ("enter rkllm_run_async, leave rkllm_run_async -1, enter rknn_init, leave rknn_init", 0),
        ("enter rknn_run, submitted rknn_run, leave rknn_run, enter rkllm_run, leave rkllm_run", 1),
        ("enter rknn_run, submitted rknn_run, leave rknn_run, enter rknn_wait, finished rknn_run, leave rknn_wait", 0),
        ("enter rkllm_run, callback normal, enter rknn_run, leave rknn_run, resumed normal, leave rkllm_run", 0),
        ("enter rkllm_run, callback normal, resumed normal, enter rknn_run, leave rknn_run, leave rkllm_run", 1),
        ("enter rkllm_run, callback normal, enter rknn_run, resumed normal, leave rknn_run, leave rkllm_run", 1),
    ],
)
def test_overlaps_of_both_libraries(text: str, count: int) -> None:
    assert len(overlaps(story(text))) == count


# ---- memory errors --------------------------------------------------------------------------------------------------

SANITISED = """
import ctypes
from pathlib import Path
from rkllmd.abi.layouts import rknn
from tests.simulator.rknn_player import *
simulator = RknnSimulator(Path({path!r}))
for model in (b"any", {two!r}, {scaled!r}):
    context = simulator.init(model, Flag.RKNN_FLAG_COLLECT_PERF_MASK)
    for index in range(context.ask(Query.RKNN_QUERY_IN_OUT_NUM, rknn.rknn_input_output_num()).n_input):
        attr = context.attr(Query.RKNN_QUERY_INPUT_ATTR, index)
        assert context.set_input(bytes(attr.size), index=index, pass_through=1) == 0
    context.run(None)
    context.destroy()
print(simulator.live())
"""


def test_no_memory_errors(tmp_path: Path) -> None:
    """Under the sanitisers, where the compiler brings them; leaks of Python itself are not looked for."""
    compiler = os.environ.get("CC", "cc").split()[0]
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("the compiler has no address sanitiser")
    path = build_rknn("2.3.2", tmp_path, ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    done = subprocess.run(
        [sys.executable, "-c", SANITISED.format(path=str(path), two=TWO, scaled=SCALED)],
        env={
            **os.environ,
            "RKNN_SIMULATOR": "log=none",
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": runtime.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(0, 0, 0)\n", "")
