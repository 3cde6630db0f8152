"""``make install``: what it puts where, a second time as well, and what it says where something is missing."""

from __future__ import annotations

import marshal
import os

import pytest

from tests import fake_python
from tests.install.machine import CHECKOUT, SYSTEM_TOOLS, Machine


def test_what_is_put_where(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3")
    done = machine.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Installed below {machine.staging}.\n"
    assert machine.installed() >= {
        "opt/rkllmd/bin/rkllmd",
        "usr/local/bin/rkllmd",
        "usr/lib/systemd/system/rkllmd.service",
        "usr/lib/systemd/system/rkllmd.socket",
        "usr/lib/systemd/system/rkllmd-gateway.service",
        "usr/lib/sysusers.d/rkllmd.conf",
        "usr/lib/tmpfiles.d/rkllmd.conf",
        "etc/rkllmd.toml",
    }
    assert os.readlink(machine.staging / "usr/local/bin/rkllmd") == "/opt/rkllmd/bin/rkllmd"
    unit = (machine.staging / "usr/lib/systemd/system/rkllmd.service").read_text()
    assert "ExecStart=/opt/rkllmd/bin/rkllmd serve\n" in unit
    (call,) = machine.pip_calls()
    assert call[-1] == str(CHECKOUT)


def test_nothing_names_the_folder_where_it_was_put_together(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3")
    machine.install()
    found = [path for path in machine.staging.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".pyc" for path in found), "the modules are compiled"
    assert [path for path in found if str(machine.staging).encode() in path.read_bytes()] == []
    (compiled,) = machine.staging.glob("opt/rkllmd/lib/__pycache__/module.*.pyc")
    assert marshal.loads(compiled.read_bytes()[16:]).co_filename == "/opt/rkllmd/lib/module.py"


def test_a_second_time_and_by_a_relative_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python.make(machine.programs, "python3")
    machine.install()
    before = machine.installed()
    (machine.staging / "etc/rkllmd.toml").write_text("log_level = 1\n")
    added = machine.staging / "opt/rkllmd/lib/tokenizers.py"
    added.touch()
    monkeypatch.chdir(machine.staging.parent)
    done = machine.install(machine.staging.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(machine.pip_calls()) == 2
    assert machine.installed() >= before
    assert (machine.staging / "etc/rkllmd.toml").read_text() == "log_level = 1\n", "what somebody wrote is kept"
    assert added.exists(), "what somebody added is kept"
    for path in (machine.staging / "opt/rkllmd").rglob("*"):
        assert not path.is_file() or path.is_symlink() or machine.staging.name.encode() not in path.read_bytes(), path


def test_an_environment_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3")
    machine.install()
    stale = machine.staging / "opt/rkllmd/lib/python3.9"
    stale.mkdir()
    (machine.staging / "opt/rkllmd/bin/python").unlink()
    assert machine.install().returncode == 0
    assert not stale.exists()


def test_what_pip_refuses_leaves_nothing_behind(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3")
    machine.environ[fake_python.PIP_FAILS] = "1"
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr == "ERROR: no network\nThe daemon could not be installed: pip says why above.\n"
    assert machine.installed() == set()
    del machine.environ[fake_python.PIP_FAILS]
    assert machine.install().returncode == 0
    machine.environ[fake_python.PIP_FAILS] = "1"
    before = machine.installed()
    assert machine.install().returncode == 1
    assert machine.installed() == before, "an installation that works goes on working"


def test_a_prefix_that_holds_something_else_is_left_alone(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3")
    precious = machine.staging / "usr/local/bin/precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    done = machine.install(prefix="/usr/local")
    assert done.returncode == 1
    assert "holds something else: the daemon needs a folder of its own" in done.stderr
    assert machine.installed() == {"usr/local/bin/precious"}
    assert "which is not an absolute path" in machine.install(prefix="rkllmd").stderr


def test_the_checkout_is_left_as_it_is(machine: Machine) -> None:
    """Root's files in it could not be changed by the user whose it is."""
    fake_python.make(machine.programs, "python3")

    def look() -> list[tuple[str, int]]:
        own = (CHECKOUT / "systemd", CHECKOUT / ".make")
        return sorted((str(path), path.stat().st_mtime_ns) for folder in own for path in folder.rglob("*"))

    before = look()
    assert machine.install().returncode == 0
    assert look() == before


# -- which Python ------------------------------------------------------------------------------------------------------

OLD = "Python 3.11 or later is needed, and python3 is 3.10: sudo apt install python3.11 python3.11-venv\n"


@pytest.mark.parametrize(
    ("pythons", "told"),
    [
        ({}, "Python is missing: sudo apt install python3 python3-venv\n"),
        ({"python3": "3.10"}, OLD),
        (
            {"python3": "3.10", "python3.11": "3.11-"},
            "python3.11 cannot make virtual environments: sudo apt install python3.11-venv\n",
        ),
        (
            {"python3": "3.13-"},
            "python3 cannot make virtual environments: sudo apt install python3.13-venv\n",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(machine: Machine, pythons: dict[str, str], told: str) -> None:
    for name, version in pythons.items():
        fake_python.make(machine.programs, name, version.rstrip("-"), has_venv=not version.endswith("-"))
    done = machine.install()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert not machine.staging.exists()


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "3.11", "python3.13": "3.13"}, "python3"),
        ({"python3": "3.10", "python3.11": "3.11"}, "python3.11"),
        ({"python3": "3.10", "python3.11": "3.11-", "python3.12": "3.12"}, "python3.12"),
        ({"python3": "3.9", "python3.14": "3.14"}, "python3.14"),
    ],
)
def test_a_later_python_is_found_by_itself(machine: Machine, pythons: dict[str, str], chosen: str) -> None:
    for name, version in pythons.items():
        fake_python.make(machine.programs, name, version.rstrip("-"), has_venv=not version.endswith("-"))
    assert machine.install().returncode == 0
    assert f"command = {machine.programs / chosen} " in (machine.staging / "opt/rkllmd/pyvenv.cfg").read_text()


def test_a_python_that_is_named_is_the_only_one(machine: Machine) -> None:
    fake_python.make(machine.programs, "python3", "3.12")
    fake_python.make(machine.programs, "python3.10", "3.10")
    for name, why in (("python3.10", "python3.10 is 3.10"), ("python3.20", "there is no python3.20")):
        machine.environ["PYTHON"] = name
        told = f"Python 3.11 or later is needed, and {why}: name another with PYTHON=python3.12\n"
        assert machine.install().stderr == told
    machine.environ["PYTHON"] = str(fake_python.make(machine.programs.parent / "elsewhere", "python", "3.11"))
    assert machine.install().returncode == 0


# -- what the running system is told -----------------------------------------------------------------------------------


def activate(machine: Machine, *, active: bool, booted: bool = True, socket_changed: str = "") -> tuple[str, list[str]]:
    """Run the last part of the installation; return what it says and what it calls."""
    root = machine.programs.parent / "root"
    if booted:
        (root / "run/systemd/system").mkdir(parents=True)
    called = machine.programs.parent / "called"
    for tool in SYSTEM_TOOLS:
        program = machine.programs / tool
        program.write_text(
            f'#!/bin/sh\necho "{tool} $*" >> "{called}"\n'
            f'case "$*" in *is-active*) exit {0 if active else 3};; *tmpfiles*) exit 1;; esac\n'
        )
        program.chmod(0o755)
    script = str(CHECKOUT / "systemd/activate.sh")
    done = machine.run("sh", script, "/opt/rkllmd", socket_changed, str(root))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, called.read_text().splitlines()


def test_a_service_that_does_not_run_is_not_started(machine: Machine) -> None:
    said, called = activate(machine, active=False)
    assert "Start it with: systemctl enable --now rkllmd.socket rkllmd.service" in said
    assert "systemctl daemon-reload" in called
    assert not any("restart" in line for line in called)


@pytest.mark.parametrize(("changed", "restarted"), [("", "rkllmd.service"), ("yes", "rkllmd.socket rkllmd.service")])
def test_a_service_that_runs_is_restarted_and_that_is_said(machine: Machine, changed: str, restarted: str) -> None:
    said, called = activate(machine, active=True, socket_changed=changed)
    assert "has been restarted" in said
    assert called[-1] == f"systemctl restart {restarted}"
    assert "systemctl restart rkllmd-gateway.service" in called
    assert called.index("systemctl daemon-reload") < len(called) - 1


def test_without_a_running_systemd_it_ends_well(machine: Machine) -> None:
    said, called = activate(machine, active=False, booted=False)
    assert said == "Installed. systemd does not run here, so start it with: /opt/rkllmd/bin/rkllmd serve\n"
    assert not any(line.startswith("systemctl") for line in called)


def test_without_any_systemd_it_ends_well(machine: Machine) -> None:
    done = machine.run("sh", str(CHECKOUT / "systemd/activate.sh"), "/opt/rkllmd", "", str(machine.staging))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_fails_at_the_end_is_named_and_is_no_failure(machine: Machine) -> None:
    program = machine.programs / "systemd-sysusers"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    done = machine.run("sh", str(CHECKOUT / "systemd/activate.sh"), "/opt/rkllmd", "", str(machine.staging))
    assert done.returncode == 0
    assert done.stderr == "This failed, please see to it: systemd-sysusers rkllmd.conf\n"
