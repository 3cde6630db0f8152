"""The Debian package as dpkg sees it: made once, installed into a root of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.install.machine import CHECKOUT

# The Python of the environment that runs the tests, which the package's own becomes a link to.
PYTHON = Path(sys._base_executable)  # type: ignore[attr-defined]  # venv itself uses it
_ENVIRON = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def run(
    *command: str | Path, environ: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command with no more in its environment than dpkg gives its scripts."""
    done = subprocess.run(
        command, env={**_ENVIRON, **(environ or {})}, capture_output=True, text=True, timeout=600, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def make(output: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Make the package as ``make deb`` does, but do not compress it."""
    program = CHECKOUT / "systemd/deb/make_deb.py"
    command = [sys.executable, program, "--output", output, "--compression", "none", *arguments]
    # What the coverage of the tests needs, and what make finds.
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600, check=False)


def again(package: Path, version: str, unit: str = "") -> Path:
    """Return a package with the same files, apart from the version; ``unit``: what its socket's unit has besides."""
    folder = package.parent / version
    run("dpkg-deb", "--raw-extract", package, folder)
    for path in [folder / "DEBIAN/control", *folder.glob("opt/rkllmd/lib/*/site-packages/rkllmd/__init__.py")]:
        path.write_text(path.read_text().replace("0.2.0", version))
    for stale in folder.glob("opt/rkllmd/lib/*/site-packages/rkllmd/__pycache__/__init__.*"):
        stale.unlink()
    socket = folder / "usr/lib/systemd/system/rkllmd.socket"
    socket.write_text(socket.read_text() + unit)
    made = package.with_name(f"{version}.deb")
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, made)
    shutil.rmtree(folder)
    return made


class Root:
    """A place to install packages into, with a dpkg database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        database = folder / "var/lib/dpkg"
        for name in ("info", "updates", "triggers"):
            (database / name).mkdir(parents=True)
        (database / "status").touch()
        (database / "available").touch()

    def dpkg(self, *arguments: str | Path) -> str:
        """Run dpkg in this place; return what it says."""
        # The Python that the package depends on is in no database here.
        options = ["--force-not-root", "--force-script-chrootless", "--force-depends", f"--root={self.folder}"]
        return run("dpkg", *options, f"--log={self.folder}/var/log", *arguments).stdout

    def status(self) -> str:
        """Return what dpkg thinks of the package: such as ``install ok installed``."""
        command = ["dpkg-query", f"--admindir={self.folder}/var/lib/dpkg", "--show", "--showformat=${Status}", "rkllmd"]
        return run(*command, check=False).stdout

    def files(self) -> set[str]:
        """Return the files that are there, apart from dpkg's own."""
        found = (path for path in self.folder.rglob("*") if not path.is_dir() or path.is_symlink())
        names = {str(path.relative_to(self.folder)) for path in found}
        return {name for name in names if not name.startswith(("var/lib/dpkg/", "var/log"))}

    def launcher(self) -> Sequence[str]:
        """Return what stands before ``python -m rkllmd`` to have the program of this place in its stead."""
        venv = self.folder / "opt/rkllmd/bin"
        return ["sh", "-c", 'shift 3; exec "$0" "$@"', str(venv / "rkllmd.test")]

    def make_program(self) -> None:
        """Write the program that ``launcher`` runs: the command of the package begins with a path that is not here."""
        venv = self.folder / "opt/rkllmd/bin"
        program = venv / "rkllmd.test"
        program.write_text(f'#!/bin/sh\nexec "{venv}/python" -P "{venv}/rkllmd" "$@"\n')
        program.chmod(0o755)


def namespace(script: str, *arguments: str | Path) -> list[str | Path]:
    """Return a command that runs a script with mounts of its own, so that it may put things in their real places."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-ec", script, "sh", *arguments]


def has_namespaces() -> bool:
    """Return whether this machine lets its users have mounts of their own."""
    if shutil.which("unshare") is None:
        return False
    return run(*namespace("mount -t tmpfs none /run"), check=False).returncode == 0
