"""What both runtimes are: a library that was chosen for a reason, or the error why it is missing, and calls into it.

A runtime that can't be used does not stop the daemon: it keeps the error and every call that needs the library gets
it, so that a client learns what is missing, and ``server.status`` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import structlog

from rkllmd.abi.library import Functions
from rkllmd.errors import NotSupported, RuntimeFailure, RuntimeUnavailable
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable.build import PortableRuntimeError

log = structlog.get_logger()

# In the place of the last words, where a failure has no other explanation either.
NO_WORDS: Final = "; the runtime said nothing about why."

L = TypeVar("L", bound=Functions)


class CRuntime(Generic[L]):
    """A library in use, or the reason why there is none."""

    # What is reported of this version on this machine, a sentence each.
    problems: Sequence[str] = ()

    def __init__(self, name: str, reason: str, output: RuntimeOutput, load: Callable[[], L]) -> None:
        """``name`` is vendor, portable or simulator; ``reason`` says why it was chosen."""
        self.name = name
        self.reason = reason
        self.output = output
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

    def describe(self) -> dict[str, Any]:
        """Return what server.status shows."""
        if self._library is None:
            return {"name": self.name, "reason": self.reason, "error": self.error.to_json() if self.error else None}
        return {
            "name": self.name,
            "reason": self.reason,
            "version": self._library.version,
            "library": str(self._library.path),
        }

    def invoke(self, function: str, *arguments: object) -> tuple[Any, list[str]]:
        """Call a C function; return what it returns and the lines that the runtime printed meanwhile."""
        mark = self.output.mark()
        returned = getattr(self.library, function)(*arguments)
        return returned, self.output.since(mark)

    def call(self, function: str, *arguments: object) -> None:
        """Call a C function that answers 0 for success. Raises RuntimeFailure with the runtime's own lines."""
        status, lines = self.invoke(function, *arguments)
        if status != 0:
            raise self.failure(function, status, lines)

    def failure(self, function: str, status: int, lines: list[str]) -> RuntimeFailure:
        """Return the error for a call that failed; the last line usually says why."""
        return RuntimeFailure(
            f"{function} failed with status {status}{last_words(lines)}", function=function, status=status, log=lines
        )

    def not_supported(self, what: str, *, needs: str) -> NotSupported:
        """Return the error for what this runtime can't do."""
        runtime = f"{self.name} {self.library.runtime}"
        return NotSupported(f"{what} is not supported by the {self.name} runtime.", runtime=runtime, needs=needs)


def last_words(lines: Sequence[str], otherwise: str = ".") -> str:
    """Return the end of a sentence about a failure: what the runtime said last, which usually says why."""
    return f": {lines[-1]}" if lines else otherwise


def no_handle(function: str, status: int | None, lines: list[str]) -> RuntimeFailure:
    """Return the error for a call that was to give a handle and gave none, whatever its status is."""
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


def needs_a_name(option: str) -> RuntimeUnavailable:
    """Return the error for a simulator that nobody named."""
    return RuntimeUnavailable(
        "The simulator has no library of its own to find.",
        searched=[],
        found=None,
        fix=f"Name the simulator's library with {option}.",
    )
