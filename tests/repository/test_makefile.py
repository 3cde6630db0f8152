"""The Makefile: ``make run`` ends with make, and a virtual environment that can't be used is made anew."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fake_python
from tests.daemon import BUILD_DIRECTORY, END_SECONDS, rknn_simulator, simulator, until

CHECKOUT = Path(__file__).resolve().parents[2]
STAMPS = (".run", ".test", ".lint")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkout with a virtual environment whose programs are those of this one, and which needs no set-up."""
    for name in ("Makefile", "pyproject.toml", ".make", "rkllmd", "examples"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    for name, arguments in (("python", ""), ("rkllmd", "-m rkllmd"), ("pip", "-m pip")):
        program = binaries / name
        program.write_text(f'#!/bin/sh\n# {binaries}/python\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    for stamp in STAMPS:
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


class Run:
    """``make run`` on the simulator."""

    def __init__(self, folder: Path, socket: Path) -> None:
        BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("RKLLM_", "RKNN_"))}
        environ |= {"RKLLM_LIB_PATH": str(simulator()), "RKNN_LIB_PATH": str(rknn_simulator())}
        environ["PYTHONPATH"] = str(CHECKOUT)
        environ.pop("MAKEFLAGS", None)  # of the make that runs the tests
        self.output = folder / "output"
        command = ["make", "run", f"SOCKET={socket}"]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def says(self, text: str) -> bool:
        """Return whether this has been printed."""
        assert self.process.poll() is None or text in self.output.read_text(), self.output.read_text()
        return text in self.output.read_text()


@pytest.fixture
def running(folder: Path, tmp_path: Path) -> Iterator[tuple[Run, Path]]:
    socket = tmp_path / "run.sock"
    run = Run(folder, socket)
    until("the daemon serves", lambda: run.says(" serves "))
    yield run, socket
    run.process.kill()
    run.process.wait()
    until("the daemon has ended", lambda: not socket.exists())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killing_make_ends_the_daemon(running: tuple[Run, Path], number: int) -> None:
    run, socket = running
    run.process.send_signal(number)
    run.process.wait(END_SECONDS)
    until("the daemon has ended", lambda: not socket.exists())


def test_a_second_make_run_says_who_serves_and_how_to_stop_it(running: tuple[Run, Path], folder: Path) -> None:
    run, socket = running
    second = Run(folder, socket)
    assert second.process.wait(END_SECONDS) == 2
    told = second.output.read_text()
    assert f"serves {socket} already: stop it with '" in told
    assert f"stop --socket {socket}', or choose another socket with make run SOCKET=/tmp/other.sock." in told
    assert run.process.poll() is None


def plan(folder: Path, target: str) -> str:
    """Return what make would do."""
    environ = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    return subprocess.run(
        ["make", "-n", target], cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=True
    ).stdout


@pytest.mark.parametrize("stamp", STAMPS)
def test_an_environment_that_works_is_kept(folder: Path, stamp: str) -> None:
    assert "pip" not in plan(folder, f".venv/{stamp}")


@pytest.mark.parametrize("reason", ["moved", "no python", "another python"])
@pytest.mark.parametrize("stamp", STAMPS)
def test_an_environment_that_cannot_be_used_is_made_anew(folder: Path, stamp: str, reason: str) -> None:
    binaries = folder / ".venv/bin"
    if reason == "moved":
        (binaries / "pip").write_text("#!/home/somebody/elsewhere/.venv/bin/python\n")
    else:
        (binaries / "python").unlink()
        (binaries / "python").symlink_to(
            "/nonexistent/python3.10" if reason == "no python" else str(shutil.which("false"))
        )
    todo = plan(folder, f".venv/{stamp}")
    assert todo.index("rm -rf .venv") < todo.index("pip")


@pytest.mark.parametrize("target", ["run", "test"])
def test_an_old_python_makes_nothing(folder: Path, target: str, tmp_path: Path) -> None:
    shutil.rmtree(folder / ".venv")
    old = fake_python.make(tmp_path / "old", "python3.10", "3.10")
    done = subprocess.run(
        ["make", target, f"PYTHON={old}"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert f"Python 3.11 or later is needed, and {old} is 3.10: name another with PYTHON=python3.12\n" in done.stderr
    assert not (folder / ".venv").exists()


def test_make_fuzz_runs_every_test_that_has_a_number_for_it() -> None:
    told = re.search(r"^env (.*) \S+/python -m pytest -n \S+ (.*)$", plan(CHECKOUT, "fuzz"), re.M)
    assert told is not None
    variables = re.findall(r"(RKLLMD_\w+)=", told[1])
    places = [CHECKOUT / place for place in told[2].split()]
    run = {path for place in places for path in ([place] if place.is_file() else place.glob("test_*.py"))}
    reads = {path for path in (CHECKOUT / "tests").rglob("test_*.py") if _reads(path, variables)}
    assert {path for path in run if _reads(path, variables)} == reads
    assert [name for name in variables if not any(_reads(path, [name]) for path in run)] == []
    assert [place for place in places if not any(path in reads for path in (place, *place.glob("test_*.py")))] == []


def _reads(path: Path, variables: list[str]) -> bool:
    return any(f'"{name}"' in path.read_text() for name in variables)
