"""A machine to install to, with nothing on its path but what a test gives it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests import fake_python

CHECKOUT = Path(__file__).resolve().parents[2]
FILE_TOOLS = ["cmp", "cp", "ln", "ls", "rm", "mkdir", "chmod", "readlink", "dirname"]
TOOLS = [*FILE_TOOLS, "sh", "sed", "id", "make", "grep", "env"]
SYSTEM_TOOLS = ["systemctl", "systemd-sysusers", "systemd-tmpfiles"]


class Machine:
    """A machine with the Pythons that a test gives it, and a place to install to."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "programs"
        self.staging = folder / "staging & more"  # what sed would take for its own
        self.log = folder / "log"
        self.environ: dict[str, str] = {}
        self.programs.mkdir()
        for tool in TOOLS:
            (self.programs / tool).symlink_to(str(shutil.which(tool)))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command with nothing else on the path."""
        environ = {"PATH": str(self.programs), fake_python.LOG: str(self.log), "LC_ALL": "C", **self.environ}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)

    def install(self, destdir: str | None = None, prefix: str = "/opt/rkllmd") -> subprocess.CompletedProcess[str]:
        """Run the script that ``make install`` runs."""
        return self.run("sh", str(CHECKOUT / "systemd/install.sh"), destdir or str(self.staging), prefix)

    def uninstall(self, prefix: str = "/opt/rkllmd", purge: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script that ``make uninstall`` runs."""
        return self.run("sh", str(CHECKOUT / "systemd/uninstall.sh"), str(self.staging), prefix, purge)

    def pip_calls(self) -> list[list[str]]:
        """Return the arguments that pip got."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def installed(self) -> set[str]:
        """Return the paths of all files that are there, relative to the place."""
        return {str(path.relative_to(self.staging)) for path in self.staging.rglob("*") if not path.is_dir()}
