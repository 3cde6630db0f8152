"""make_deb.py --python PYTHON --output FOLDER: make the package of the daemon for Debian and its kin.

It has what ``make install`` has: a virtual environment of its own in /opt/rkllmd, since Rockchip's model converter
installs a package named rknn too, and the units; and what the gateway needs besides. Not the engine of the portable
runtime, which is compiled for one processor. What it depends on is taken from the environment that runs this program
where that has the same Python, otherwise from one that pip fills.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Set
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import manpage
from packaging.requirements import Requirement

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PREFIX: Final = "/opt/rkllmd"
NAME: Final = "rkllmd"
# What is installed with the daemon, of its extras: HTTP has a unit, which has to run as it is.
EXTRA: Final = "gateway"
# Where what is in the checkout goes: file → place.
_FILES: Final = {
    "systemd/rkllmd.sysusers": "usr/lib/sysusers.d/rkllmd.conf",
    "systemd/rkllmd.tmpfiles": "usr/lib/tmpfiles.d/rkllmd.conf",
    "systemd/rkllmd.toml": "etc/rkllmd.toml",
    "LICENSE": "usr/share/doc/rkllmd/copyright",
    "README.md": "usr/share/doc/rkllmd/README.md",
    "docs/protocol.md": "usr/share/doc/rkllmd/protocol.md",
    "docs/configuration.md": "usr/share/doc/rkllmd/configuration.md",
    "docs/gateway.md": "usr/share/doc/rkllmd/gateway.md",
    "docs/boards.md": "usr/share/doc/rkllmd/boards.md",
    "examples/boards/haproxy.cfg": "usr/share/doc/rkllmd/examples/boards/haproxy.cfg",
    "examples/boards/certificates.sh": "usr/share/doc/rkllmd/examples/boards/certificates.sh",
}
_SCRIPTS: Final = ("preinst", "postinst", "prerm", "postrm")
# The build's own: what tells this Python from another one that its modules would not fit.
_ABI: Final = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_config_var('SOABI'))"
_COMMAND: Final = f"""#!{PREFIX}/bin/python
import sys
from rkllmd.__main__ import main
sys.exit(main())
"""


class BuildError(Exception):
    """The package can't be made; the message is one sentence that says what to do."""


def make(python: Path, output: Path, *, version: str, compression: str) -> Path:
    """Make the package; return its path. Raises BuildError, CalledProcessError."""
    if shutil.which("dpkg-deb") is None:
        raise BuildError("dpkg-deb is missing, which makes packages: sudo apt install dpkg")
    major, minor = _version_of(python)
    with tempfile.TemporaryDirectory(prefix="rkllmd-deb-") as folder:
        root = Path(folder, "root")
        _make_environment(python, root, Path(folder, "wheels"))
        _put_files(root)
        fields = {
            "Package": NAME,
            "Version": version,
            "Architecture": _output("dpkg", "--print-architecture"),
            "Maintainer": "the rkllmd developers <rkllmd@localhost>",
            "Section": "net",
            "Priority": "optional",
            "Depends": f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), libc6, libgcc-s1",
            "Recommends": "systemd",
            "Suggests": "socat",
            "Installed-Size": str(sum(path.lstat().st_size for path in root.rglob("*")) // 1024),
            "Description": _description(),
        }
        _put_control(root, fields)
        output.mkdir(parents=True, exist_ok=True)
        package = output / f"{NAME}_{version}_{fields['Architecture']}.deb"
        command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(root), str(package)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return package


# -- the environment ---------------------------------------------------------------------------------------------------


def _make_environment(python: Path, root: Path, wheels: Path) -> None:
    """Make the virtual environment below ``root`` as it is going to be at PREFIX."""
    venv = root / PREFIX.lstrip("/")
    subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", venv], check=True)
    (modules,) = venv.glob("lib/python3.*/site-packages")
    if _output(str(python), "-c", _ABI) == _output(sys.executable, "-c", _ABI):
        # pip too: the daemon's own sentences say what else can be installed with it, such as tokenizers.
        for distribution in (*_needed(NAME, {EXTRA}), metadata.distribution("pip")):
            _copy(distribution, modules)
        _unpack(_wheel(wheels), modules)
    else:
        _fill_by_pip(python, modules, wheels)
    command = venv / "bin" / NAME
    command.write_text(_COMMAND)
    command.chmod(0o755)
    for program in (venv / "bin").glob("[Aa]ctivate*"):  # nobody works in it
        program.unlink()
    subprocess.run([venv / "bin/python", CHECKOUT / ".make/relocate.py", venv, PREFIX], check=True)


def _needed(name: str, extras: Set[str], seen: set[str] | None = None) -> Iterator[metadata.Distribution]:
    """Yield what a distribution needs of this environment, with these extras and without itself."""
    seen = {name} if seen is None else seen
    for line in metadata.requires(name) or ():
        requirement, marker = Requirement(line), Requirement(line).marker
        needed = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if needed and requirement.name not in seen:
            seen.add(requirement.name)
            yield metadata.distribution(requirement.name)
            yield from _needed(requirement.name, requirement.extras, seen)


def _copy(distribution: metadata.Distribution, modules: Path) -> None:
    """Copy what a distribution has installed; its programs are nothing for the daemon."""
    for file in distribution.files or ():
        if file.parts[0] != ".." and file.suffix != ".pyc":
            target = modules / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def _wheel(folder: Path) -> Path:
    """Build the daemon's own wheel, as pip would."""
    folder.mkdir()
    code = "import build_backend, sys; build_backend.build_wheel(sys.argv[1])"
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".make"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"The daemon's wheel could not be built:\n{done.stderr}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, modules: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(modules)


def _fill_by_pip(python: Path, modules: Path, folder: Path) -> None:
    """Install the daemon into an environment of that Python, and take the modules from there."""
    print(f"Installing with {python}, since this environment has another Python ...", flush=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-compile", f"{CHECKOUT}[{EXTRA}]"], check=True)
    (filled,) = folder.glob("lib/python3.*/site-packages")
    tools = shutil.ignore_patterns("setuptools*", "pkg_resources", "_distutils_hack", "*.pth")
    shutil.copytree(filled, modules, dirs_exist_ok=True, ignore=tools)


def _version_of(python: Path) -> tuple[int, int]:
    """Return the version of the Python that the package is for. Raises BuildError for one that it can't be for."""
    try:
        major, minor = map(int, _output(str(python), "-c", "import sys; print(*sys.version_info[:2])").split())
    except (OSError, subprocess.CalledProcessError):
        raise BuildError(f"There is no {python}, the system's Python: sudo apt install python3") from None
    if (major, minor) < (3, 11):
        raise BuildError(
            f"{python} is {major}.{minor}, and 3.11 or later is needed: make the package on a later system."
        )
    return major, minor


# -- everything else ---------------------------------------------------------------------------------------------------


def _put_files(root: Path) -> None:
    """Put the units, the configuration, the documents and the manual page in their places."""
    for name, place in _FILES.items():
        _write(root / place, (CHECKOUT / name).read_bytes())
    for name in ("rkllmd.service", "rkllmd.socket", "rkllmd-gateway.service"):
        unit = (CHECKOUT / "systemd" / name).read_text().replace("@PREFIX@", PREFIX)
        unit = unit.replace("[Unit]\n", "[Unit]\nDocumentation=man:rkllmd(1)\n")
        _write(root / "usr/lib/systemd/system" / name, unit.encode())
    _write(root / "usr/share/man/man1/rkllmd.1.gz", _compressed(manpage.text().encode()))
    _write(root / "usr/share/doc/rkllmd/changelog.gz", _compressed((CHECKOUT / "CHANGELOG.md").read_bytes()))
    (root / "usr/bin").mkdir()
    (root / "usr/bin" / NAME).symlink_to(f"{PREFIX}/bin/{NAME}")


def _put_control(root: Path, fields: Mapping[str, str]) -> None:
    """Write what dpkg reads: the fields, the scripts, which files are a person's to change, and all sums."""
    folder = root / "DEBIAN"
    _write(folder / "control", "".join(f"{name}: {value}\n" for name, value in fields.items()).encode())
    _write(folder / "conffiles", b"/etc/rkllmd.toml\n")
    for name in _SCRIPTS:
        _write(folder / name, (CHECKOUT / "systemd" / "deb" / name).read_bytes(), mode=0o755)
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
        for path in files
        if folder not in path.parents
    ]
    _write(folder / "md5sums", "".join(sums).encode())
    for path in [root, *root.rglob("*")]:  # whatever the umask was
        if path.is_dir():
            path.chmod(0o755)


def _description() -> str:
    """Return the field Description: the first sentence, and what a person wants to know before installing it."""
    more = (
        "Every function of Rockchip's RKLLM (language) and RKNN (vision) runtimes is a method, for every local "
        "program. The vendor's libraries librkllmrt.so and librknnrt.so are not part of it; they belong into /usr/lib."
    )
    lines = textwrap.wrap(more, 78, initial_indent=" ", subsequent_indent=" ")
    return "\n".join(["daemon that owns a Rockchip NPU and serves it as JSON-RPC", *lines])


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # as gzip -n


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project


def main() -> int:
    """Make the package that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make the Debian package of the daemon.")
    parser.add_argument("--python", type=Path, default=Path("/usr/bin/python3"), help="the Python of the system")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "build", help="where to put the package")
    parser.add_argument("--version", default=_project()["version"], help="of the package")
    parser.add_argument("--compression", default="xz", choices=("xz", "gzip", "none"))
    given = parser.parse_args()
    os.umask(0o022)
    try:
        package = make(given.python, given.output, version=given.version, compression=given.compression)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(f"Made {package}. Install it with: sudo apt install {package}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
