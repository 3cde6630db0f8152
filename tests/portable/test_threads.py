"""How many threads the engine takes beside what else the machine does, and how they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rkllmd.portable import build

SOURCES = build.SOURCES / "model"
STEPS = Path(__file__).with_name("free_cpus_steps.cpp")
# A step: at which millisecond, how many seconds each processor has worked so far, how many threads want to run.
Step = tuple[int, Sequence[float], int]
Ask = Callable[..., list[int]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("free-cpus") / "steps"
    sources = [str(STEPS), str(SOURCES / "free_cpus.cpp")]
    command = [*build.find_compiler(), "-std=c++17", f"-I{SOURCES}", *sources, "-lpthread", "-o", str(target)]
    subprocess.run(command, check=True)
    return target


@pytest.fixture
def ask(program: Path, tmp_path: Path) -> Ask:
    """Return a function that shows FreeCpus a machine at several moments and returns its answers."""
    statistics = tmp_path / "stat"

    def run(*steps: Step, cpus: int = 4, most: int = 4) -> list[int]:
        answers = []
        arguments = [str(program), str(cpus), str(most), str(statistics)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for milliseconds, worked, running in steps:
                lines = [f"cpu{cpu} {int(seconds * 100)} 0 0 0 0 0 0 0 0 0\n" for cpu, seconds in enumerate(worked)]
                statistics.write_text("cpu  0 0 0 0 0 0 0 0 0 0\n" + "".join(lines) + f"procs_running {running}\n")
                process.stdin.write(f"{milliseconds}\n")
                process.stdin.flush()
                answers.append(int(process.stdout.readline()))
            process.stdin.close()
        return answers

    return run


IDLE = (0.0, 0.0, 0.0, 0.0)


def test_at_first_as_many_as_nobody_else_wants_at_this_moment(ask: Ask) -> None:
    assert ask((0, IDLE, 1)) == [4]
    assert ask((0, IDLE, 2)) == [3], "one other runs"
    assert ask((0, IDLE, 9)) == [1], "one at least"


def test_then_as_many_as_others_leave(ask: Ask) -> None:
    worked = [(0.1, 0.0, 0.0, 0.0), (1.1, 1.0, 0.0, 0.0), (1.1, 1.0, 0.05, 0.0)]
    assert ask((0, IDLE, 1), (1000, worked[0], 9), (2000, worked[1], 1), (3000, worked[2], 1)) == [4, 4, 2, 4]


def test_short_times_say_nothing_and_long_ones_nothing_about_now(ask: Ask) -> None:
    busy = (1.0, 1.0, 1.0, 1.0)
    assert ask((0, IDLE, 1), (50, busy, 9)) == [4, 4]
    assert ask((0, IDLE, 1), (60_000, (60.0, 60.0, 60.0, 60.0), 1)) == [4, 4], "they worked, and are done"


def test_never_more_than_asked_for(ask: Ask) -> None:
    assert ask((0, IDLE, 1), (1000, IDLE, 1), most=2) == [2, 2]
    assert ask((0, IDLE, 1), (1000, (0.0, 0.0, 0.9, 0.9), 3), cpus=2, most=2) == [2, 2], (
        "others' processors are not ours"
    )


def test_a_machine_that_does_not_say_gets_all(ask: Ask) -> None:
    assert ask((0, (), 0)) == [4]


@pytest.mark.parametrize(
    ("membership", "limits", "allowed"),
    [
        ("0::/\n", {"": "150000 100000\n"}, 2),
        ("0::/\n", {"": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a": "300000 100000\n", "a/b": "max 100000\n"}, 3),
        ("0::/a/b\n", {"a": "300000 100000\n", "a/b": "50000 100000\n"}, 1),
        ("5:cpu:/x\n", {"": "100000 100000\n"}, None),
        ("", {"": "100000 100000\n"}, None),
    ],
)
def test_a_container_with_less_time_gets_fewer_threads(
    program: Path, tmp_path: Path, membership: str, limits: dict[str, str], allowed: int | None
) -> None:
    (tmp_path / "membership").write_text(membership)
    for group, limit in limits.items():
        (tmp_path / "groups" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / group / "cpu.max").write_text(limit)
    command = [str(program), "container", str(tmp_path / "membership"), str(tmp_path / "groups")]
    answer = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert answer == (2**31 - 1 if allowed is None else allowed)


def spin_count(tmp_path: Path, **environ: str) -> str:
    """Return what libgomp has read from its environment in a process that has loaded the portable runtime."""
    script = f"from rkllmd.portable.driver import Driver; Driver({str(build.build())!r}, '/no/model').handle"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    result = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; {script}"],
        env={**ours, "OMP_DISPLAY_ENV": "verbose", **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return next(line.partition("=")[2].strip(" '") for line in result.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


def test_threads_that_wait_do_not_spin_for_long(tmp_path: Path) -> None:
    assert 0 < int(spin_count(tmp_path)) <= 10_000


def test_whoever_has_chosen_how_threads_wait_is_obeyed(tmp_path: Path) -> None:
    assert spin_count(tmp_path, OMP_WAIT_POLICY="passive") == "0"
    assert spin_count(tmp_path, GOMP_SPINCOUNT="77") == "77"
