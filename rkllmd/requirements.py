"""What to say where an optional package is missing: a command that works, wherever this was installed from."""

from __future__ import annotations

import re
import shlex
import sys

_PACKAGE = re.compile("[A-Za-z0-9._-]+")


def install_command(*packages: str, options: str = "") -> str:
    """Return the command that installs ``packages`` in the versions that we need, into the environment that runs this.

    Not ``rkllmd[extra]``: rkllmd is on no package index.
    """
    return _command([_requirement(package) for package in packages], options)


def install_extras(*extras: str) -> str:
    """Return the command that installs what these extras of ours name, each package once."""
    wanted = [
        requirement.strip()
        for requirement, _, condition in (line.partition(";") for line in _ours())
        if condition.strip() in {f'extra == "{extra}"' for extra in extras}
    ]
    return _command(list(dict.fromkeys(wanted)) or [f"/path/to/the/checkout[{','.join(extras)}]"])


def _command(requirements: list[str], options: str = "") -> str:
    wanted = [shlex.quote(requirement) for requirement in requirements]
    return " ".join([shlex.quote(sys.executable), "-m pip install", *([options] if options else []), *wanted])


def _requirement(package: str) -> str:
    """Return the package with the versions that our own metadata ask for; without metadata, its name."""
    for line in _ours():
        requirement = line.partition(";")[0].strip()
        if (name := _PACKAGE.match(requirement)) and name[0].lower() == package:
            return requirement
    return package


def _ours() -> list[str]:
    """Return what our own metadata ask for; nothing where we run from the source, not installed."""
    from importlib import metadata  # which brings much along, and is rarely needed

    try:
        return metadata.requires("rkllmd") or []
    except metadata.PackageNotFoundError:
        return []
