"""The RKLLM runtime in use: which library was chosen and why, and calls into it with what it printed.

A runtime that can't be used does not stop the daemon: it keeps the error and every call that needs the library gets
it, so that a client learns what is missing, and ``server.status`` shows it.
"""

from __future__ import annotations

import os
from ctypes import Structure, c_int
from pathlib import Path
from typing import Any

import structlog

from rkllmd.abi.library import Library, check, find, identify, load
from rkllmd.config import Config
from rkllmd.errors import NotSupported, RuntimeFailure, RuntimeUnavailable
from rkllmd.handles import Model
from rkllmd.platform import Platform
from rkllmd.portable import build as portable
from rkllmd.runtime_output import RuntimeOutput

log = structlog.get_logger()

_ASYNC_WORKS_SINCE = (1, 2, 2)


class Runtime:
    """The chosen runtime, its library or the reason why there is none."""

    def __init__(self, config: Config, platform: Platform, output: RuntimeOutput) -> None:
        """Choose and load the library; see design, Runtimes."""
        self.output = output
        self.name = config.runtime
        self.reason = "the configuration says so"
        self.error: RuntimeUnavailable | None = None
        self.defaults: Structure | None = None
        self._library: Library | None = None
        self._config = config
        self._asks_is_running = False
        # What rkllm_is_running answered while nothing ran, and while something did.
        self._idle_status: int | None = None
        self._busy_status: int | None = None
        self._run_async_function = "rkllm_run"
        if self.name == "auto":
            self.name, self.reason = _choose(config, platform)
        try:
            self._library = _load(self.name, config)
            self._settle(self._library.version)
            # Read once here, so that createDefaultParam and every init share one proven answer.
            self.defaults = self._library.rkllm_createDefaultParam()
        except RuntimeUnavailable as error:
            self.error = error
            log.error("runtime_unavailable", runtime=self.name, reason=error.message, **error.data)
        except portable.PortableRuntimeError as error:
            # Its message already says what to do.
            self.error = RuntimeUnavailable(f"{error}.", searched=[], found=None, fix=str(error))
            log.error("runtime_unavailable", runtime=self.name, reason=str(error))

    def _settle(self, version: str) -> None:
        """Decide what the version decides."""
        reliable = tuple(int(part) for part in version.split(".") if part.isdecimal()) >= _ASYNC_WORKS_SINCE
        asks, runs = self._config.is_running_calls, self._config.run_async_calls
        self._asks_is_running = reliable if asks == "auto" else asks == "always"
        automatic = "rkllm_run_async" if reliable else "rkllm_run"
        self._run_async_function = automatic if runs == "auto" else runs

    @property
    def library(self) -> Library:
        """Return the loaded library. Raises RuntimeUnavailable."""
        if self._library is None:
            assert self.error is not None
            raise self.error
        return self._library

    @property
    def is_loaded(self) -> bool:
        """Tell whether there is a usable library."""
        return self._library is not None

    def describe(self) -> dict[str, Any]:
        """Return what server.status shows."""
        if self._library is None:
            return {"name": self.name, "reason": self.reason, "error": self.error.to_json() if self.error else None}
        return {
            "name": self.name,
            "reason": self.reason,
            "version": self._library.version,
            "layout": self._library.layout.name,
            "library": str(self._library.path),
        }

    def invoke(self, function: str, *arguments: Any) -> tuple[int, list[str]]:
        """Call a C function; return its status and the lines that the runtime printed meanwhile."""
        mark = self.output.mark()
        status = getattr(self.library, function)(*arguments)
        return status, self.output.since(mark)

    def call(self, function: str, *arguments: Any) -> None:
        """Call a C function that answers 0 for success. Raises RuntimeFailure with the runtime's own lines."""
        status, lines = self.invoke(function, *arguments)
        check(function, status, lines)

    def not_supported(self, what: str, *, needs: str) -> NotSupported:
        """Return the error for what this runtime can't do."""
        runtime = f"{self.name} {self.library.runtime}"
        return NotSupported(f"{what} is not supported by the {self.name} runtime.", runtime=runtime, needs=needs)

    def run_function(self, *, asynchronous: bool) -> str:
        """Return the C function that serves a run: rkllm_run_async is known to hang below 1.2.2."""
        if not asynchronous:
            return "rkllm_run"
        return self._run_async_function

    def raw_is_running(self, model: Model) -> int | None:
        """Return what rkllm_is_running answers, or None where it is not asked (it was once reported to hang)."""
        return int(self.library.rkllm_is_running(model.pointer)) if self._asks_is_running else None

    def learn_idle(self, model: Model) -> None:
        """Note what rkllm_is_running answers while the model is idle, until a run has shown the other answer.

        The headers contradict each other on which answer means what.
        """
        if self._busy_status is None:
            self._idle_status = self._ask(model)

    def learn_busy(self, model: Model) -> None:
        """Note what rkllm_is_running answers during a run, until it has once differed from the idle model's answer."""
        if self._busy_status is None and (status := self._ask(model)) != self._idle_status:
            self._busy_status = status

    def is_idle_again(self, model: Model) -> bool:
        """Tell whether rkllm_is_running shows that a run is over; false while its answers can't be told apart."""
        self.learn_busy(model)
        return self._busy_status is not None and self._ask(model) == self._idle_status

    def _ask(self, model: Model) -> int | None:
        try:
            return self.raw_is_running(model)
        except NotSupported:
            return None

    def kv_cache_sizes(self, model: Model) -> list[int]:
        """Return the tokens in the KV cache per batch entry. Raises RuntimeFailure, NotSupported."""
        sizes = (c_int * model.n_batch)()
        self.call("rkllm_get_kv_cache_size", model.pointer, sizes)
        return list(sizes)

    def remember_kv_cache_sizes(self, model: Model) -> None:
        """Note the sizes while the model is idle, for rkllm.get_kv_cache_size during the call that follows."""
        try:
            model.kv_cache_sizes = self.kv_cache_sizes(model)
        except (NotSupported, RuntimeFailure):  # only asked in case; the run does not depend on it
            model.kv_cache_sizes = []


def _choose(config: Config, platform: Platform) -> tuple[str, str]:
    """Return the runtime for ``auto``, and why."""
    if config.rkllm_library:
        return "vendor", "a library is named in the configuration"
    devices = platform.npu_devices()
    if devices:
        return "vendor", f"an NPU was found ({devices[0]})"
    return "portable", "no NPU was found"


def _load(name: str, config: Config) -> Library:
    layout = None if config.rkllm_layout == "auto" else config.rkllm_layout
    if name == "portable":
        return load(portable.library_path(), "1.3")
    if name == "simulator" and not config.rkllm_library:
        raise RuntimeUnavailable(
            "The simulator has no library of its own to find.",
            searched=[],
            found=None,
            fix="Name the simulator's library with --rkllm-library.",
        )
    return load(find(config.rkllm_library or None, os.environ), layout)


def describe_library(config: Config) -> str:
    """Return one line on the library that would be used, without loading it (for ``rkllmd --version``)."""
    platform = Platform()
    name, reason = (config.runtime, "configured") if config.runtime != "auto" else _choose(config, platform)
    try:
        path: Path = portable.library_path() if name == "portable" else find(config.rkllm_library or None, os.environ)
        version = identify(path).version or "unknown version"
    except RuntimeUnavailable as error:
        return f"{name} ({reason}): {error.sentence}"
    except portable.PortableRuntimeError as error:
        return f"{name} ({reason}): {error}"
    return f"{name} ({reason}): RKLLM {version}, {path}"
