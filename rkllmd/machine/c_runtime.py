"""What both runtimes have in common: a library that was chosen for a reason, or why there is none, and calls into it.

A runtime that can't be used does not stop the daemon. Its error is kept: every call that needs the library is answered
with it, so that a client learns what is missing, and ``server.status`` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from rkllmd.abi.c import CResult
from rkllmd.abi.library import Functions, LibraryFile, find, identify
from rkllmd.errors import InvalidHandle, NotSupported, RuntimeFailure, RuntimeUnavailable
from rkllmd.json_types import JsonObject
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable.build import PortableRuntimeError

log = structlog.get_logger()

# The end of a message about a failure that nothing else explains either.
NO_WORDS: Final = "; the runtime said nothing about why."

L = TypeVar("L", bound=Functions, covariant=True)


class CRuntime(Generic[L]):
    """A library in use, or the reason why there is none."""

    # What is known to go wrong with this version on this machine, a sentence each.
    problems: Sequence[str] = ()

    def __init__(self, name: str, reason: str, output: RuntimeOutput, load: Callable[[], L]) -> None:
        """``name`` is vendor, portable or simulator; ``reason`` says why it was chosen."""
        self.name = name
        self.reason = reason
        self.output = output
        self.journal = output.journal
        self.error: RuntimeUnavailable | None = None
        self._library: L | None = None
        try:
            self._library = load()
        except RuntimeUnavailable as error:
            self.error = error
            log.error("runtime_unavailable", runtime=name, reason=error.message, **error.data)
        except PortableRuntimeError as error:
            # Its message already says what to do.
            self.error = RuntimeUnavailable(f"{error}.", searched=[], found=None, fix=str(error))
            log.error("runtime_unavailable", runtime=name, reason=str(error))

    @property
    def library(self) -> L:
        """Return the loaded library. Raises RuntimeUnavailable."""
        if self._library is None:
            assert self.error is not None
            raise self.error
        return self._library

    @property
    def is_usable(self) -> bool:
        """Return whether there is a library."""
        return self._library is not None

    def describe(self) -> JsonObject:
        """Return what server.status shows."""
        if self._library is None:
            return {"name": self.name, "reason": self.reason, "error": self.error.to_json() if self.error else None}
        return {
            "name": self.name,
            "reason": self.reason,
            "version": self._library.version,
            "library": str(self._library.path),
        }

    def raw_call(self, function: str, *arguments: object, on: object = None) -> CResult:
        """Call a C function, and return what it returns; what calls the library otherwise tells the journal itself.

        ``on`` as in ``invoke``. Never on the event loop. Raises NotSupported for a function that the library lacks, and
        InvalidHandle for a first argument that is null: C's first parameter is a handle, or points to something.
        """
        if arguments and not arguments[0]:
            raise InvalidHandle(
                f"{function} was not called: what it was for is not there any more. Load or make it again.", handle=None
            )
        record = self.journal.enter(function, on)
        try:
            return getattr(self.library, function)(*arguments)
        finally:
            self.journal.leave(record)

    def invoke(self, function: str, *arguments: object, on: object = None) -> tuple[CResult, list[str]]:
        """Call a C function; return what it returns and the lines that the runtime printed meanwhile.

        ``on``: the model or context, where it is another one than the call of the method is for.

        Raises what ``raw_call`` raises.
        """
        mark = self.output.mark()
        returned = self.raw_call(function, *arguments, on=on)
        return returned, self.output.since(mark)

    def call(self, function: str, *arguments: object, on: object = None) -> None:
        """Call a C function that answers 0 for success. Raises RuntimeFailure with the runtime's own lines."""
        status, lines = self.invoke(function, *arguments, on=on)
        if status != 0:
            raise self.failure(function, status, lines)

    def failure(self, function: str, status: int, lines: list[str]) -> RuntimeFailure:
        """Return the error for a call that failed; the last line usually says why."""
        return RuntimeFailure(
            f"{function} failed with status {status}{last_words(lines)}", function=function, status=status, log=lines
        )

    def not_supported(self, what: str, *, needs: str) -> NotSupported:
        """Return the error for something that this runtime can't do."""
        runtime = f"{self.name} {self.library.runtime}"
        return NotSupported(f"{what} is not supported by the {self.name} runtime.", runtime=runtime, needs=needs)


def last_words(lines: Sequence[str], otherwise: str = ".") -> str:
    """Return the end of a message about a failure: the last line that the runtime printed, which usually says why."""
    return f": {lines[-1]}" if lines else otherwise


def no_handle(function: str, status: int | None, lines: list[str]) -> RuntimeFailure:
    """Return the error for a call that should have given a handle and did not, whatever its status is."""
    return RuntimeFailure(
        f"{function} failed{last_words(lines, NO_WORDS)}", function=function, status=status, log=lines
    )


def choose(configured: str, library: str, platform: Platform) -> tuple[str, str]:
    """Return the runtime to use, and why; ``library`` is the path that the configuration names for it, or empty."""
    if configured != "auto":
        return configured, "the configuration says so"
    if library:
        return "vendor", "a library is named in the configuration"
    devices = platform.npu_devices()
    if devices:
        return "vendor", f"an NPU was found ({devices[0]})"
    return "portable", "no NPU was found"


def describe_library(configured: str, library: str, file: LibraryFile, portable: Callable[[], str]) -> str:
    """Return a line about the library that would be used, without loading it (for ``rkllmd --version``).

    ``configured`` and ``library``: as for ``choose``. ``portable`` returns the version and place of the portable
    runtime.
    """
    name, reason = choose(configured, library, Platform())
    try:
        found = portable() if name == "portable" else describe_file(find(library or None, os.environ, file), file)
    except RuntimeUnavailable as error:
        return f"{name} ({reason}): {error.sentence}"
    except PortableRuntimeError as error:
        return f"{name} ({reason}): {error}"
    return f"{name} ({reason}): {file.label} {found}"


def describe_file(path: Path, file: LibraryFile) -> str:
    """Return the version of the library at ``path``, and where it is. Raises RuntimeUnavailable."""
    return f"{identify(path, file).version or 'unknown version'}, {path}"


def needs_a_name(option: str) -> RuntimeUnavailable:
    """Return the error for a simulator whose library nobody has named."""
    return RuntimeUnavailable(
        "The simulator has no library of its own to find.",
        searched=[],
        found=None,
        fix=f"Name the simulator's library with {option}.",
    )
