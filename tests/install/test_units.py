"""The systemd units: what systemd itself says of them, and that each line that could be argued about has its reason."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.machine import CHECKOUT

UNITS = CHECKOUT / "systemd"
# As "systemd-analyze security" takes it: tenths.
MOST_EXPOSED = 10
# What keeps the service alive, and the board beside it.
RELIABILITY = {
    "RestartPreventExitStatus=2 78",
    "KillMode=mixed",
    "WatchdogSec=30s",
    "OOMPolicy=continue",
    "OOMScoreAdjust=-100",
    "TasksMax=512",
    "# MemoryHigh=80%",
}

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is missing, which checks the units: sudo apt install systemd",
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def units(tmp_path: Path) -> tuple[str, str]:
    """Return the paths of the units as they are installed, with a program in its place."""
    program = tmp_path / "prefix/bin/rkllmd"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    service, socket = tmp_path / "rkllmd.service", tmp_path / "rkllmd.socket"
    service.write_text((UNITS / service.name).read_text().replace("@PREFIX@", str(tmp_path / "prefix")))
    shutil.copy(UNITS / socket.name, socket)
    return str(service), str(socket)


@analyze
def test_systemd_has_nothing_to_say_against_them(units: tuple[str, str]) -> None:
    done = run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def gateway(tmp_path: Path, units: tuple[str, str]) -> str:
    """Return the path of the gateway's unit beside the others."""
    unit = tmp_path / "rkllmd-gateway.service"
    unit.write_text((UNITS / unit.name).read_text().replace("@PREFIX@", str(tmp_path / "prefix")))
    return str(unit)


@analyze
def test_systemd_has_nothing_to_say_against_the_gateway(gateway: str) -> None:
    done = run("systemd-analyze", "verify", "--man=no", gateway)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", gateway)
    assert done.returncode == 0, done.stdout


@analyze
def test_what_the_gateway_may_do_has_its_reason(gateway: str) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--json=short", gateway)
    assert _without_reason(done.stdout, gateway) == []


def test_the_gateway_is_a_user_of_its_own_without_the_npu() -> None:
    lines = (UNITS / "rkllmd-gateway.service").read_text().splitlines()
    assert {"DynamicUser=yes", "PrivateDevices=yes", "DevicePolicy=closed"} <= set(lines)
    assert not any(line.startswith("DeviceAllow=") for line in lines)


@analyze
def test_a_mistake_in_a_unit_would_be_found(units: tuple[str, str]) -> None:
    service = Path(units[0])
    service.write_text(service.read_text().replace("OOMPolicy=continue", "OOMPolicy=go-on"))
    assert "OOM policy" in run("systemd-analyze", "verify", "--man=no", *units).stderr


@analyze
def test_the_service_may_do_little(units: tuple[str, str]) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", units[0]]
    done = run(*command)
    assert done.returncode == 0, done.stdout
    exposed = re.search(r"Overall exposure level for rkllmd\.service: ([\d.]+)", done.stdout)
    assert exposed is not None
    assert float(exposed[1]) <= MOST_EXPOSED / 10


@analyze
def test_what_it_may_do_nevertheless_has_its_reason(units: tuple[str, str]) -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--json=short", units[0])
    assert _without_reason(done.stdout, units[0]) == []


def _without_reason(said: str, unit: str) -> list[str]:
    """Return what a unit leaves open, as systemd says it, and has no comment about."""
    costly = [item["name"] for item in json.loads(said) if item["exposure"] is not None and not item["set"]]
    assert costly, "it says what is left open"
    reasons = "\n".join(line for line in Path(unit).read_text().splitlines() if line.startswith("# "))
    # Such as "SystemCallFilter=~@resources" and "RootDirectory=/RootImage=".
    return [name for name in costly if f"{name.partition('=')[0]}=" not in reasons]


@pytest.mark.parametrize("setting", sorted(RELIABILITY))
def test_what_keeps_it_alive_has_its_reason_above_it(setting: str) -> None:
    lines = (UNITS / "rkllmd.service").read_text().splitlines()
    above = lines[lines.index(setting) - 1]
    assert above.startswith("# ")
    assert not above.startswith("# --")


def test_the_daemon_and_systemd_agree_on_the_times() -> None:
    """Systemd must not kill what is leaving in time."""
    from rkllmd.net.listening.serving import STOP_SECONDS

    assert f"TimeoutStopSec={STOP_SECONDS:.0f}s\n" in (UNITS / "rkllmd.service").read_text()


def test_the_state_is_where_the_daemon_looks_for_it() -> None:
    from rkllmd.config.settings import Config

    unit = (UNITS / "rkllmd.service").read_text()
    assert f"StateDirectory={Config().state_directory.removeprefix('/var/lib/')}\n" in unit
    assert f"CacheDirectory={Config().cache_directory.removeprefix('/var/cache/')}\n" in unit


def test_every_group_that_the_service_wants_to_be_in_is_made() -> None:
    """Systemd starts no service with a group that there is not, and a small system has no "render"."""
    (groups,) = re.findall(r"^SupplementaryGroups=(.*)$", (UNITS / "rkllmd.service").read_text(), re.MULTILINE)
    made = set(re.findall(r"^[gu] (\w+) ", (UNITS / "rkllmd.sysusers").read_text(), re.MULTILINE))
    assert {*groups.split(), "rkllm"} == made
