"""The vendor's library: find it, identify it, choose the struct layout by its version, prove the layout.

The wrong layout is silent corruption first and a crash in ``rkllm_run`` later, and no symbol tells runtime 1.2.1 from
1.3.0. So the version is read from the file before the file is loaded, an unknown version is refused by name, and the
choice is proven (``canary.py``) before any other call.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path

from rkllmd.abi import architecture, c_signature, canary
from rkllmd.abi.c_types import CFunction
from rkllmd.abi.layouts import rkllm_common
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout, Signature
from rkllmd.errors import NotSupported, RuntimeUnavailable
from rkllmd.quick_dataclass import dataclass

SEARCH_DIRECTORIES = (
    "/usr/lib",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/opt/lib",
    "/opt/rkllm/lib",
)


@dataclass(frozen=True)
class LibraryFile:
    """How one of the vendor's libraries is found and recognised."""

    name: str
    label: str
    environment: str
    option: str
    supported: str
    # In the file, with a group for the version and one for the rest.
    version: re.Pattern[bytes]
    # The functions that every build must have.
    indispensable: tuple[str, ...]


# Only what is known, version by version: 1.2.1b1 lays out its structs differently from 1.2.1, and so does 1.3.1 from
# 1.3.0.
_LAYOUT_BY_VERSION = {"1.2.1": "1.2", "1.2.2": "1.2", "1.2.3": "1.2", "1.3.0": "1.3", "1.3.1": "1.3.1"}
RKLLM_FILE = LibraryFile(
    name="librkllmrt.so",
    label="RKLLM",
    environment="RKLLM_LIB_PATH",
    option="--rkllm-library",
    supported="1.2.1, 1.2.2, 1.2.3, 1.3.0 and 1.3.1",
    # "RKLLM SDK (version: 1.2.0 | target: Linux | build: f8ca3ae8 2025-04-08 ...)". The file names the version of the
    # RKNN core inside too ("rknn llm lib version: 2.3.3b0 ..."), which says nothing about our structs.
    version=re.compile(rb"RKLLM SDK \(version:\s*(\d+\.\d+\.\d+[\w.+~-]{0,32})([^)\0]{0,256})"),
    indispensable=("rkllm_createDefaultParam", "rkllm_init", "rkllm_run", "rkllm_destroy"),
)
SUPPORTED = RKLLM_FILE.supported
FIX_VERSION = (
    f"Install runtime {SUPPORTED}, or, if you know that this one has the same structs, name their layout with "
    f"--rkllm-layout {', '.join([*LAYOUTS][:-1])} or {[*LAYOUTS][-1]}."
)


@dataclass(frozen=True)
class Identity:
    """What a library file says about itself: ``version`` (None if it names none) and the rest, ``build``."""

    version: str | None
    build: str = ""


class Functions:
    """A loaded library. Its C functions are attributes: ``library.rkllm_abort(handle)`` → raw status.

    A function that this build does not have is there too, and raises NotSupported when it is called. ctypes releases
    the GIL during a call; which thread may make which call is the caller's business.
    """

    __slots__ = ("_absent", "_dll", "_types", "functions", "identity", "label", "path")

    def __init__(
        self,
        label: str,
        path: Path,
        identity: Identity,
        functions: dict[str, CFunction],
        dll: ctypes.CDLL | None = None,
        types: Mapping[str, object] | None = None,
    ) -> None:
        """``dll`` is None for functions that are made in this process; ``types``: the library's, by their C names."""
        self.label = label
        self.path = path
        self.identity = identity
        self.functions = functions
        self._dll = dll
        self._types = types or {}
        self._absent: dict[str, CFunction] = {}

    def declare(self, text: str) -> None:
        """Add a function by its C declaration, unless there is one of its name already.

        If it needs a type that this library does not have, the function is there too, and raises NotSupported when it
        is called. Raises ValueError if ``text`` does not declare a function.
        """
        name = c_signature.name_of(text)
        if self._dll is not None and name in self.functions:
            return
        signature, needs = None, f"a build that exports {name}"
        try:
            signature = c_signature.parse(text, self._types)[1]
        except LookupError as error:
            needs = f"a build that exports it; {error.args[0]}"
        if self._dll is None:  # the functions made in this process may not exist before the first of them is called
            self._absent[name] = _missing(name, self.runtime, needs)
        else:
            missing = _missing(name, self.runtime, needs)
            self.functions[name] = missing if signature is None else bind(self._dll, name, signature, self.runtime)

    @property
    def version(self) -> str:
        """The runtime's version, such as "1.2.3"; "unknown" if its file does not name one."""
        return self.identity.version or "unknown"

    @property
    def runtime(self) -> str:
        """How errors name this runtime: "rkllm 1.2.3"."""
        return f"{self.label.lower()} {self.version}"

    def __getattr__(self, name: str) -> CFunction:
        try:
            return self.functions[name]
        except KeyError:
            if name in self._absent:
                return self._absent[name]
            raise AttributeError(f"{self.label} has no function {name}") from None


class Library(Functions):
    """A loaded and proven RKLLM runtime."""

    __slots__ = ("layout",)

    def __init__(
        self,
        path: Path,
        identity: Identity,
        layout: Layout,
        functions: dict[str, CFunction],
        dll: ctypes.CDLL | None = None,
    ) -> None:
        types = {**vars(rkllm_common), **layout.structs}
        super().__init__(RKLLM_FILE.label, path, identity, functions, dll, types)
        self.layout = layout


def find(explicit: str | None, environ: Mapping[str, str], file: LibraryFile = RKLLM_FILE) -> Path:
    """Return the path of a runtime library.

    ``explicit`` (or the environment's RKLLM_LIB_PATH) is the file, or a directory that holds it; if it is given,
    nothing else is tried. Otherwise LD_LIBRARY_PATH and the usual directories are searched.

    Raises RuntimeUnavailable with every place that was searched.
    """
    given = explicit or environ.get(file.environment)
    if given:
        candidates = [Path(given), Path(given, file.name)]
    else:
        own = [part for part in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if part]
        candidates = [Path(directory, file.name) for directory in dict.fromkeys([*own, *SEARCH_DIRECTORIES])]
    for candidate in candidates:
        # os.path.isfile, unlike Path.is_file, takes an unreadable directory for an absent file.
        if os.path.isfile(candidate):
            return candidate.absolute()
    raise RuntimeUnavailable(
        f"There is no {file.name} in {given or 'any of the usual places'}.",
        searched=[str(candidate) for candidate in candidates],
        found=None,
        fix=f"Copy {file.name} ({file.supported}) to /usr/lib, or name it with {file.option} or {file.environment}.",
    )


def identify(path: str | Path, library: LibraryFile = RKLLM_FILE) -> Identity:
    """Read the runtime's version from the file's bytes; the file is not loaded. Raises RuntimeUnavailable."""
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return Identity(None)  # an empty file cannot be mapped
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                match = library.version.search(content)
                # Copied before the mapping is closed, since a match refers to what it was found in.
                texts = [text.decode("utf-8", "replace") for text in match.groups()] if match else []
    except OSError as error:
        raise cannot_load(Path(path), str(error), library) from error
    return Identity(texts[0], texts[1].strip(" |")) if texts else Identity(None)


def layout_of(version: str | None) -> str | None:
    """Return the name of the layout that a runtime version is known to have, or None."""
    return _LAYOUT_BY_VERSION.get(version or "")


def choose_layout(identity: Identity, layout_override: str | None, path: str | Path) -> Layout:
    """Return the layout of ``identity``'s version, or the one that the operator has named (``layout_override``).

    Raises RuntimeUnavailable for a version of which no layout is known.
    """
    if layout_override is not None:
        if layout_override not in LAYOUTS:
            known = ", ".join(LAYOUTS)
            raise RuntimeUnavailable(
                f"There is no struct layout of this name; known are {known}.",
                searched=[],
                found=str(path),
                fix=f"Use --rkllm-layout with one of {known}.",
            )
        return LAYOUTS[layout_override]
    known_layout = layout_of(identity.version)
    if known_layout is not None:
        return LAYOUTS[known_layout]
    what = f"is RKLLM runtime {identity.version}" if identity.version else "does not name an RKLLM version"
    raise RuntimeUnavailable(
        f"{path} {what}; supported are {SUPPORTED}. Its structs may differ, so it was not loaded.",
        searched=[],
        found=f"{path} ({identity.version or 'no version'})",
        fix=FIX_VERSION,
    )


def load(path: str | Path, layout_override: str | None = None, *, built_here: bool = False) -> Library:
    """Identify, load, prove and bind the library at ``path``. Raises RuntimeUnavailable: what is wrong, and a fix.

    ``built_here``: compiled on this machine from our own header, so the layouts agree whatever the machine.
    """
    path = Path(path).absolute()  # dlopen searches for a bare name instead of taking the file beside us
    identity = identify(path)
    layout = choose_layout(identity, layout_override, path)
    if not built_here:
        refuse_unknown_machine(path, RKLLM_FILE)
    dll = open_library(path, RKLLM_FILE)
    found = f"{path} ({identity.version or 'no version'})"
    canary.prove(layout, dll.rkllm_createDefaultParam, found)
    runtime = f"rkllm {identity.version or 'unknown'}"
    functions = {name: bind(dll, name, signature, runtime) for name, signature in layout.signatures.items()}
    return Library(path, identity, layout, functions, dll)


def refuse_unknown_machine(path: Path, library: LibraryFile) -> None:
    """Raise RuntimeUnavailable where nobody has measured how C lays out the library's structs."""
    if not architecture.HAS_KNOWN_LAYOUTS:
        raise RuntimeUnavailable(
            f"{path} was not loaded: how the {library.label} runtime lays out its structs is known for "
            f"{architecture.KNOWN}, and this is {architecture.describe()}.",
            searched=[],
            found=str(path),
            fix=f"Run the daemon on one of {architecture.KNOWN}.",
        )


def open_library(path: Path, library: LibraryFile) -> ctypes.CDLL:
    """Load the library with all its symbols resolved, and make sure that it has the indispensable functions.

    Raises RuntimeUnavailable, with the loader's own words where the loader refuses.
    """
    try:
        dll = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise cannot_load(path, str(error), library) from error
    missing = [name for name in library.indispensable if not hasattr(dll, name)]
    if missing:
        raise RuntimeUnavailable(
            f"{path} is no complete {library.label} runtime: it has no {', '.join(missing)}.",
            searched=[],
            found=str(path),
            fix=f"Install {library.name} {library.supported}.",
        )
    return dll


def bind(dll: ctypes.CDLL, name: str, signature: Signature, runtime: str) -> CFunction:
    """Return a function of the library; if it does not have one of this name, what is returned raises NotSupported."""
    try:
        function = dll[name]  # a function object of our own: dll.name would be shared and cached
    except AttributeError:
        return _missing(name, runtime, f"a build that exports {name}")
    function.argtypes = signature.argtypes
    function.restype = signature.restype
    return function


def _missing(name: str, runtime: str, needs: str) -> CFunction:
    def missing(*_arguments: object) -> int:
        raise NotSupported(f"{runtime} has no {name}.", runtime=runtime, needs=needs)

    return missing


def cannot_load(path: Path, reason: str, library: LibraryFile = RKLLM_FILE) -> RuntimeUnavailable:
    """Return the error for a file that the loader refuses: the loader's own words, and what helps."""
    fix = f"Install {library.name} {library.supported} for this machine's architecture."
    absent = re.search(r"(lib[\w.+-]+): cannot open shared object file", reason)
    if absent and absent[1] != path.name:
        fix = f"Install the package that holds {absent[1]}, or add its directory to LD_LIBRARY_PATH before starting."
    if absent and absent[1].startswith("libomp"):
        fix = f"Install {absent[1]} (Debian and Ubuntu: apt install libomp-dev)."
    return RuntimeUnavailable(f"{path} cannot be loaded: {reason}", searched=[str(path)], found=str(path), fix=fix)
