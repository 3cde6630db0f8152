"""``python -m rkllmd.portable.build``: compile the portable runtime, a shared library with the C interface of RKLLM.

The engine is llama.cpp as llama-cpp-python installs it, headers and libraries; our library is compiled against exactly
that installation, because the layouts of llama.cpp's structs change between releases. The file's name has a hash of all
that goes into it, so the library is compiled once and found at once afterwards.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rkllmd.portable import march
from rkllmd.quick_dataclass import dataclass
from rkllmd.requirements import install_command

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "rkllm"
# Headers are included by their names alone, so no two of them may have the same name.
FOLDERS = (SOURCES / "functions", SOURCES / "model", SOURCES / "prompt", SOURCES / "run")
HEADER = HERE.parent / "abi" / "rkllm.h"
# The struct layout, the one that abi.hpp chooses.
LAYOUT = "1.3.1"
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


class PortableRuntimeError(Exception):
    """The portable runtime is not available; the message is one sentence that says what to do."""


class EngineMissingError(PortableRuntimeError):
    """llama-cpp-python, or a part of it that we need, is not installed."""


class CompilerMissingError(PortableRuntimeError):
    """There is no C++ compiler."""


class BuildError(PortableRuntimeError):
    """The compiler refused."""


class NotBuiltError(PortableRuntimeError):
    """The library has not been built yet."""


@dataclass(frozen=True)
class Engine:
    """An installed llama.cpp."""

    name: str
    headers: Path
    libraries: Path
    link: tuple[str, ...]
    # For which processor it was compiled.
    march: str = march.NATIVE


def find_engine() -> Engine:
    """Find llama-cpp-python without importing it, which would load numpy and the engine."""
    from importlib import metadata  # which brings much along

    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise EngineMissingError(f"llama-cpp-python is not installed: {install_command('llama-cpp-python')}")
    package = Path(spec.origin).resolve().parent
    engine = Engine(
        name=f"of llama-cpp-python {metadata.version('llama_cpp_python')}",
        headers=package.parent / "include",
        libraries=package / "lib",
        link=("-lllama", "-lggml", "-lggml-base"),
        march=march.recorded(package / "lib"),
    )
    if missing := march.missing_here(engine.march):
        raise EngineMissingError(
            f"the engine was compiled for {engine.march}, and this processor has no {' and no '.join(missing)}: "
            "rm -r .venv and make run builds it anew"
        )
    for needed in (engine.headers / "llama.h", engine.libraries / "libllama.so"):
        if not needed.exists():
            command = install_command("llama-cpp-python", options="--force-reinstall --no-binary llama-cpp-python")
            raise EngineMissingError(f"llama-cpp-python is installed without {needed.name}: {command}")
    return engine


def find_compiler() -> list[str]:
    """Return the command of the C++ compiler, $CXX first."""
    named = os.environ.get("CXX")
    for command in [named] if named else ["c++", "g++", "clang++"]:
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    if named:
        raise CompilerMissingError(f"the C++ compiler that CXX names, {named}, was not found")
    raise CompilerMissingError("a C++ compiler is needed: sudo apt install g++")


def _files(pattern: str) -> list[Path]:
    return sorted((path for folder in FOLDERS for path in folder.glob(pattern)), key=lambda path: path.name)


def _sources() -> list[Path]:
    return _files("*.cpp")


def _hash(engine: Engine) -> str:
    digest = hashlib.sha256()
    facts = [engine.name, str(engine.headers), str(engine.libraries), platform.machine(), *engine.link, *FLAGS]
    facts += march.flags(engine.march)
    digest.update("\0".join(facts).encode())
    for path in [*_sources(), *_files("*.hpp"), HEADER, engine.headers / "llama.h"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _folders() -> list[Path]:
    """Return the folders for built files: beside the code, where all users find them, and the user's cache.

    There is no cache if there is no home: for a user without one, or with an empty HOME, which Python takes for /.
    """
    beside = HERE / "build"
    try:
        home = Path.home()
    except RuntimeError:  # the user has no entry in the password database, and no HOME
        home = Path("/")
    named = os.environ.get("XDG_CACHE_HOME")
    if named is not None and named.startswith("/"):
        return [beside, Path(named, "rkllmd")]
    return [beside] if home == Path("/") else [beside, home / ".cache" / "rkllmd"]


def _find(name: str) -> Path | None:
    """Return the built file, if it is in one of the folders and may be read."""
    return next((folder / name for folder in _folders() if os.access(folder / name, os.R_OK)), None)


def _name(engine: Engine) -> str:
    return f"librkllmrt-portable-{_hash(engine)}.so"


def library_path() -> Path:
    """Return the built library; raise NotBuiltError if there is none for this engine and these sources."""
    found = _find(_name(find_engine()))
    if found is None:
        command = f"{shlex.quote(sys.executable)} -m rkllmd.portable.build"
        raise NotBuiltError(f"the portable runtime is not built yet: {command}")
    return found


def build() -> Path:
    """Return the library, compiling it if need be."""
    engine = find_engine()
    name = _name(engine)
    if (found := _find(name)) is not None:
        return found
    compiler = find_compiler()
    sys.stderr.write(f"Compiling the portable runtime for {engine.march}, once ...\n")
    target = _writable_folder() / name
    try:
        # Another build may be running: each works in its own folder, and the last step is a rename.
        with _scratch(target.parent) as scratch:
            _compile(compiler, engine, scratch / "library.so")
            if target.parent == HERE / "build":  # whoever may read the code may run it, whatever the umask
                (scratch / "library.so").chmod(0o755)
            (scratch / "library.so").replace(target)
    except OSError as error:
        raise BuildError(f"the portable runtime cannot be written to {target.parent}: {error.strerror}") from error
    return target


def _writable_folder() -> Path:
    """Return the first folder for built files that can be written to, made if need be. Raises BuildError."""
    reasons = []
    for folder in _folders():
        try:
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if is_new and folder == HERE / "build":  # whoever may read the code may run it, whatever the umask
                folder.chmod(0o755)
            with _scratch(folder):
                return folder
        except OSError as error:
            reasons.append(f"{folder} ({error.strerror})")
    raise BuildError(
        f"the portable runtime cannot be written to {' or '.join(reasons)}: name a folder of yours in XDG_CACHE_HOME"
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as name:
        yield Path(name)


def _compile(compiler: list[str], engine: Engine, output: Path) -> None:
    include = [*(f"-I{folder}" for folder in (*FOLDERS, HEADER.parent)), "-isystem", str(engine.headers)]
    define = f'-DRKLLMD_ENGINE="{engine.name}"'

    def compile_one(source: Path) -> str:
        compiled = str(output.with_name(source.stem + ".o"))
        _run([*compiler, *FLAGS, *march.flags(engine.march), *include, define, "-c", str(source), "-o", compiled])
        return compiled

    from concurrent.futures import ThreadPoolExecutor  # the daemon imports this module and builds nothing

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, _sources()))
    where = [f"-L{engine.libraries}", f"-Wl,-rpath,{engine.libraries}"]
    options = (*engine.link, "-lpthread", "-Wl,--no-undefined", "-s")
    _run([*compiler, "-shared", *objects, *where, *options, "-o", str(output)])


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0:
        first = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip()[-300:])
        raise BuildError(f"the portable runtime does not compile: {first}")


def main() -> int:
    """Build, and say in one line where the library is or what is missing."""
    try:
        sys.stdout.write(f"{build()}\n")
    except PortableRuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
