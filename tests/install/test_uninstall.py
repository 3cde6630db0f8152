"""``make uninstall``: all that ``make install`` has put somewhere goes, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import fake_python
from tests.install.machine import CHECKOUT, Machine


@pytest.fixture
def used(machine: Machine) -> Machine:
    """Return a machine on which the daemon was installed and has run."""
    fake_python.make(machine.programs, "python3")
    machine.install()
    for name in ("var/lib/rkllmd/store/rkllmd.sqlite", "var/cache/rkllmd/a.cache", "usr/local/bin/other"):
        path = machine.staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return machine


LEARNED = {"etc/rkllmd.toml", "var/lib/rkllmd/store/rkllmd.sqlite", "var/cache/rkllmd/a.cache"}


def test_the_configuration_and_what_was_learned_are_kept(used: Machine) -> None:
    done = used.uninstall()
    assert (done.returncode, done.stderr) == (0, "")
    assert used.installed() == {*LEARNED, "usr/local/bin/other"}
    removed, *kept = done.stdout.splitlines()
    assert removed == "Removed."
    assert kept == [
        f"Kept: {used.staging}/{name} (make uninstall PURGE=1 removes it as well)"
        for name in ("etc/rkllmd.toml", "var/lib/rkllmd", "var/cache/rkllmd")
    ]


def test_purging_removes_them_as_well(used: Machine) -> None:
    done = used.uninstall(purge="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Removed.\n", "")
    assert used.installed() == {"usr/local/bin/other"}


def test_a_second_time_and_where_nothing_is_installed(used: Machine) -> None:
    used.uninstall(purge="1")
    done = used.uninstall(purge="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Removed.\n", "")


def test_it_can_be_installed_again_with_the_configuration_of_before(used: Machine) -> None:
    (used.staging / "etc/rkllmd.toml").write_text("log_level = 1\n")
    before = used.installed()
    used.uninstall()
    assert used.install().returncode == 0
    assert used.installed() == before
    assert (used.staging / "etc/rkllmd.toml").read_text() == "log_level = 1\n"


def test_a_command_of_somebody_elses_is_left_alone(used: Machine) -> None:
    command = used.staging / "usr/local/bin/rkllmd"
    command.unlink()
    command.symlink_to("/home/somebody/.venv/bin/rkllmd")
    assert used.uninstall().returncode == 0
    assert command.is_symlink()


@pytest.mark.parametrize("what", ["another environment", "no environment", "a relative path"])
def test_a_folder_that_is_not_the_daemons_is_left_alone(machine: Machine, what: str) -> None:
    folder = machine.staging / "opt/other"
    folder.mkdir(parents=True)
    (folder / "precious").touch()
    if what == "another environment":
        (folder / "pyvenv.cfg").touch()
    done = machine.uninstall("other" if what == "a relative path" else "/opt/other")
    assert done.returncode == 1
    assert ("not an absolute path" if what == "a relative path" else "is not the daemon's") in done.stderr
    assert (folder / "precious").exists()


# -- what the running system is told -----------------------------------------------------------------------------------


def deactivate(machine: Machine, stage: str, *, booted: bool = True, known: bool = True) -> list[str]:
    """Run the part of the removal that speaks to the system; return what it calls."""
    root, called = machine.programs.parent / "root", machine.programs.parent / "called"
    if booted:
        (root / "run/systemd/system").mkdir(parents=True)
    called.touch()
    program = machine.programs / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> "{called}"\ncase "$*" in *cat*) exit {0 if known else 1};; esac\nexit 1\n'
    )
    program.chmod(0o755)
    done: subprocess.CompletedProcess[str] = machine.run(
        "sh", str(CHECKOUT / "systemd/deactivate.sh"), stage, str(root)
    )
    assert done.returncode == 0, "what fails is named, and keeps nothing from being removed"
    lines = [line for line in called.read_text().splitlines() if "cat" not in line]
    assert done.stderr == "".join(f"This failed, please see to it: systemctl {line}\n" for line in lines)
    return lines


def test_the_socket_is_stopped_with_the_service(machine: Machine) -> None:
    assert deactivate(machine, "before") == [
        "--quiet disable --now rkllmd.socket rkllmd.service",
        "--quiet disable --now rkllmd-gateway.service",
    ]


def test_systemd_forgets_the_units(machine: Machine) -> None:
    assert deactivate(machine, "after") == ["daemon-reload"]


def test_units_that_systemd_does_not_know_are_no_error(machine: Machine) -> None:
    assert deactivate(machine, "before", known=False) == []


@pytest.mark.parametrize("stage", ["before", "after"])
def test_without_a_running_systemd_nothing_is_told(machine: Machine, stage: str) -> None:
    assert deactivate(machine, stage, booted=False) == []


def test_the_makefile_gives_what_the_script_takes(machine: Machine, tmp_path: Path) -> None:
    """Such as make uninstall DESTDIR=… PURGE=1."""
    command = ["make", "--no-print-directory", "-n", "uninstall", f"DESTDIR={tmp_path}", "PURGE=1"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == f'sh systemd/uninstall.sh "{tmp_path}" "/opt/rkllmd" "1"\n'
