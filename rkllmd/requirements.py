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
    wanted = [shlex.quote(_requirement(package)) for package in packages]
    return " ".join([shlex.quote(sys.executable), "-m pip install", *([options] if options else []), *wanted])


def _requirement(package: str) -> str:
    """Return the package with the versions that our own metadata ask for; without metadata, its name."""
    from importlib import metadata  # which brings much along, and is rarely needed

    try:
        ours = metadata.requires("rkllmd") or []
    except metadata.PackageNotFoundError:  # run from the source, not installed
        ours = []
    for line in ours:
        requirement = line.partition(";")[0].strip()
        if (name := _PACKAGE.match(requirement)) and name[0].lower() == package:
            return requirement
    return package
