"""What goes wrong with RKNN when a scenario says so: failures, crashes, hangs, shortages."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rkllmd.abi.layouts import rknn
from rkllmd.abi.layouts.rknn_constants import rknn_error
from tests.simulator.rknn_player import Query, RknnSimulator
from tests.simulator.tests.rknn.models import ANY, IMAGE, TWO, Script, play


def faulty(built: Path) -> str:
    return f"""
from pathlib import Path
from tests.simulator.rknn_player import RknnSimulator
context = RknnSimulator(Path({str(built)!r})).init({ANY!r})
context.set_input(bytes(48))
print([context.run(None) for _ in range(3)], flush=True)
"""


@pytest.mark.parametrize(
    ("scenario", "status"),
    [
        ("run=segfault@2", -signal.SIGSEGV),
        ("init=abort", -signal.SIGABRT),
        ("fault.rknn_inputs_set=exit", 3),
    ],
)
def test_crashes(built: Path, scenario: str, status: int) -> None:
    assert play(faulty(built), scenario).returncode == status


def test_a_hang_lasts_until_it_is_killed(built: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        play(faulty(built), "run=hang", 2)


def test_failing_runs(simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    script("run=fail@2;error_status=-3")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    capfd.readouterr()
    assert [context.run(None) for _ in range(3)] == [0, -3, 0]
    said = capfd.readouterr().err
    assert said.startswith(
        "E RKNN: [00:00:00.000] failed to submit!, op id: 1, op name: Conv:/model.0/conv/Conv, flags: 0x5, task start: "
        "0, task number: 1, run task counter: 0, int status: 0"
    )
    context.destroy()
    script("log=none;run=timeout;fault.rknn_matmul_run=fail")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    assert context.run(None) == rknn_error.RKNN_ERR_TIMEOUT
    extend = rknn.rknn_run_extend(non_block=1)
    assert context.run(ctypes.byref(extend)) == 0
    assert context.wait(None) == rknn_error.RKNN_ERR_TIMEOUT
    context.destroy()
    script("log=none;run=hang")
    context = simulator.init(ANY)
    context.set_input(IMAGE)
    assert context.run(ctypes.byref(rknn.rknn_run_extend(timeout_ms=5))) == rknn_error.RKNN_ERR_TIMEOUT
    context.destroy()


def test_out_of_memory(simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    script("init=fail@2")
    first, second = simulator.init(TWO), simulator.init(TWO)
    assert (first.status, second.status, simulator.live()) == (0, -6, (1, 0, 0))
    said = [line.split("] ")[1] for line in capfd.readouterr().err.splitlines() if line.startswith("E RKNN: ")]
    assert said == [
        "failed to allocate handle, ret: -1, errno: 14, errstr: Bad address",
        "failed to malloc npu memory, size: 100000, flags: 0x2",
        "Import rknn model failed!",
        "rknn_init, load model failed!",
    ]
    first.destroy()
    script("log=none;memory_limit=210000;init_status=-4")
    first, second = simulator.init(TWO), simulator.init(TWO)
    assert first.status == second.status == 0
    assert simulator.init(TWO).status == -4
    assert not first.create_mem(1)
    second.destroy()
    memory = first.create_mem(105000)
    assert memory
    assert not first.create_mem(1)
    assert first.destroy_mem(memory) == first.destroy() == 0


def test_delays_lines_and_faults_of_any_function(
    simulator: RknnSimulator, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    script(
        "delay.rknn_init=50;print.stderr=W RKNN: hot;print_at=rknn_query;"
        "fault.rknn_create_mem=fail@2;driver_version=0.9.6"
    )
    before = time.monotonic()
    context = simulator.init(ANY)
    assert time.monotonic() - before >= 0.05
    assert "RKNN Driver Information, version: 0.9.6" in capfd.readouterr().err
    assert context.ask(Query.RKNN_QUERY_SDK_VERSION, rknn.rknn_sdk_version()).drv_version == b"0.9.6"
    assert capfd.readouterr().err == "W RKNN: hot\n"
    memory = context.create_mem(1)
    assert not context.create_mem(1)
    assert context.destroy_mem(memory) == context.destroy() == 0
