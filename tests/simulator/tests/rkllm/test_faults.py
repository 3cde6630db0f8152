"""What goes wrong when a scenario says so: failures, crashes, hangs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator.player import ERROR, Model, Simulator

ROOT = Path(__file__).parents[4]


def test_init_out_of_memory_at_the_second(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    models = [load("init=fail@2") for _ in range(3)]
    assert [model.status for model in models] == [0, -1, 0]
    log = capfd.readouterr().err
    assert re.search(
        r"E RKNN: \[.*\] failed to allocate handle, ret: -1, errno: 12, errstr: Cannot allocate memory", log
    )
    assert "E rkllm: rkllm_init failed" in log
    assert models[0].play()[0] == 0


def test_a_second_load_takes_the_first_down(load: Callable[..., Model]) -> None:
    first, second = load("init=fail_takes_first_down"), load("init=fail_takes_first_down")
    assert (first.status, second.status) == (0, -1)
    status, recorder = first.play()
    assert (status, recorder.states) == (-1, [ERROR])
    assert first.destroy() == 0
    assert load("").play()[0] == 0


def test_init_succeeds_with_a_null_handle(load: Callable[..., Model]) -> None:
    model = load("init=null_handle")
    assert (model.status, model.handle.value) == (0, None)


def test_a_run_fails(load: Callable[..., Model]) -> None:
    status, recorder = load("text=abcdef;run=error@2").play()
    assert (status, recorder.output, recorder.states[-1]) == (-1, b"abcd", ERROR)
    assert load("run=error@2;error_status=0").play()[0] == 0
    status, recorder = load("run=fail@0;error_status=-5").play()
    assert (status, recorder.events) == (-5, [])
    model = load("run=fail;return.rkllm_abort=3;fault.rkllm_is_running=fail")
    assert (model.abort(), model.is_running()) == (3, -1)


def test_faults_and_lines_reach_hidden_states_too(
    load: Callable[..., Model], capfd: pytest.CaptureFixture[str]
) -> None:
    model = load("run=error;print.stderr=E rkllm: bad")
    status, recorder = model.play(infer=model.infer(mode=1))
    assert (status, recorder.states) == (-1, [ERROR])
    assert "E rkllm: bad\n" in capfd.readouterr().err


def test_a_fault_in_one_run_only(load: Callable[..., Model]) -> None:
    model = load("run=error@0;run_nth=2")
    assert [model.play()[0] for _ in range(3)] == [0, -1, 0]


DYING = """
import sys
from pathlib import Path
from tests.simulator.player import Simulator
layout, library, model = sys.argv[1:]
player = Simulator(layout, Path(library)).load(Path(model))
print("loaded", flush=True)
player.play()
print("survived", flush=True)
"""


def die(layout: str, library: Path, model: Path, scenario: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DYING, layout, str(library), str(model)],
        cwd=ROOT,
        env={**os.environ, "RKLLM_SIMULATOR": scenario, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("where", ["init", "run", "fault.rkllm_run"])
@pytest.mark.parametrize(
    ("action", "status"),
    [
        *(("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT)),
        *(("exit", 3), ("illegal", -signal.SIGILL)),
    ],
)
def test_the_process_dies(
    layout: str, library: Path, model_file: Path, tmp_path: Path, where: str, action: str, status: int
) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    scenario = f"{where}={action};fault_ticket={ticket}"
    with die(layout, library, model_file, scenario) as process:
        output, _ = process.communicate(timeout=300)
        assert output == ("" if where == "init" else "loaded\n")
        assert process.returncode == status
    with die(layout, library, model_file, scenario) as process:  # the ticket is used up
        assert process.communicate(timeout=300)[0] == "loaded\nsurvived\n"


@pytest.mark.parametrize("where", ["init=hang", "run=hang@2"])
def test_a_hang(layout: str, library: Path, model_file: Path, where: str) -> None:
    scenario = f"{where};print.stdout=about to hang;print_at={'rkllm_init' if 'init' in where else 2}"
    with die(layout, library, model_file, scenario) as process:
        assert process.stdout
        assert any(line == "about to hang\n" for line in process.stdout)
        assert process.poll() is None
        process.kill()


def test_a_hang_blocks_its_caller_only(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("fault.rkllm_is_running=hang")
    threading.Thread(target=model.is_running, daemon=True).start()
    assert model.play()[0] == 0
