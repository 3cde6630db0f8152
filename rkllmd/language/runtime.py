"""The RKLLM runtime: which library was chosen and why, and calls into it together with what it printed."""

from __future__ import annotations

import os

import structlog

from rkllmd.abi.c import Struct, c_int
from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.library import RKLLM_FILE, Library, find, identify, load
from rkllmd.config.settings import Config
from rkllmd.config.values import is_on
from rkllmd.errors import NotSupported, RuntimeFailure
from rkllmd.json_types import JsonObject
from rkllmd.language import runtime_reports
from rkllmd.language.model import Model
from rkllmd.machine import c_runtime
from rkllmd.machine.c_runtime import CRuntime, choose, needs_a_name
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable import build as portable
from rkllmd.portable.extension import Extension
from rkllmd.portable.threads import limit_spinning

log = structlog.get_logger()

_ASYNC_WORKS_SINCE = (1, 2, 2)
# Its change log says that "several instances" are supported from this version on.
_SEVERAL_MODELS_SINCE = (1, 2, 2)


class Runtime(CRuntime[Library]):
    """The chosen RKLLM runtime."""

    def __init__(self, config: Config, platform: Platform, output: RuntimeOutput) -> None:
        """Choose and load the library; if that fails, each call reports it, not this constructor."""
        self.defaults: Struct | None = None
        self._default_json: JsonObject = {}
        self._config = config
        # Whether rkllm_is_running is called: it was once reported to hang.
        self._asks_is_running = False
        # What rkllm_is_running returned while nothing ran, and while something did.
        self._idle_status: int | None = None
        self._busy_status: int | None = None
        self._run_async_function = "rkllm_run"
        self.takes_several_models = False
        self.extension: Extension | None = None
        # What is known to go wrong with this library on this machine.
        self.problems: list[str] = []
        name, reason = choose(config.runtime, config.rkllm_library, platform)
        super().__init__(name, reason, output, lambda: self._load(name, platform))
        if self._library is not None:
            self._settle(self._library.version)
            # Read once here, so that createDefaultParam and every init share one proven answer.
            self.defaults = self.raw_call("rkllm_createDefaultParam")
            self._default_json = from_c(self.defaults)
            self.extension = Extension.of(self._library.path) if name == "portable" else None

    def _load(self, name: str, platform: Platform) -> Library:
        config = self._config
        if name == "portable":
            limit_spinning()
            return load(portable.library_path(), portable.LAYOUT, built_here=True)
        if name == "simulator" and not config.rkllm_library:
            raise needs_a_name("--rkllm-library")
        path = find(config.rkllm_library or None, os.environ)
        soc = platform.soc() if config.soc == "auto" else config.soc
        self.problems = runtime_reports.problems(identify(path).version, platform, soc)
        for problem in self.problems:  # logged before any of its code runs, which may end the process
            log.warning("runtime_problem", library=str(path), problem=problem)
        return load(path, None if config.rkllm_layout == "auto" else config.rkllm_layout)

    def _settle(self, version: str) -> None:
        """Decide what depends on the version."""
        numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
        reliable = numbers >= _ASYNC_WORKS_SINCE
        self.takes_several_models = numbers >= _SEVERAL_MODELS_SINCE
        asks, runs = self._config.is_running_calls, self._config.run_async_calls
        self._asks_is_running = is_on(asks, automatically=reliable)
        automatic = "rkllm_run_async" if reliable else "rkllm_run"
        self._run_async_function = automatic if runs == "auto" else runs

    def describe(self) -> JsonObject:
        """Return what server.status shows of the runtime."""
        described = super().describe()
        if self._library is None:
            return described
        engine = {} if self.extension is None else {"engine": self.extension.engine()}
        return {**described, "layout": self._library.layout.name, "problems": self.problems, **engine}

    def default_param(self) -> JsonObject:
        """Return what rkllm_createDefaultParam has returned at the start, as JSON. Raises RuntimeUnavailable."""
        if self.error is not None:
            raise self.error
        return self._default_json

    def run_function(self, *, asynchronous: bool) -> str:
        """Return the name of the C function for a run: rkllm_run_async was reported to hang below 1.2.2."""
        if not asynchronous:
            return "rkllm_run"
        return self._run_async_function

    def raw_is_running(self, *, busy: bool) -> int | None:
        """Return what rkllm_is_running was seen to return of a model that is ``busy`` or idle; None: not seen yet."""
        return self._busy_status if busy else self._idle_status

    def learn_idle(self, model: Model) -> None:
        """Note what rkllm_is_running returns while the model is idle, until a run has shown the other value.

        The headers contradict each other about which value means what.
        """
        if self._busy_status is None:
            self._idle_status = self._ask(model)

    def learn_busy(self, model: Model) -> None:
        """Note what rkllm_is_running returns during a run, until it has once differed from the idle model's value."""
        if self._busy_status is None and (status := self._ask(model)) != self._idle_status:
            self._busy_status = status

    def is_idle_again(self, model: Model) -> bool:
        """Return whether rkllm_is_running shows that a run is over; false as long as its values can't be told apart."""
        self.learn_busy(model)
        return self._busy_status is not None and self._ask(model) == self._idle_status

    def _ask(self, model: Model) -> int | None:
        """Return what rkllm_is_running returns, or None where it is not called; on the worker thread."""
        try:
            return self.raw_call("rkllm_is_running", model.pointer, on=model) if self._asks_is_running else None
        except NotSupported:
            return None

    def kv_cache_sizes(self, model: Model) -> list[int]:
        """Return the tokens in the KV cache per batch entry. Raises RuntimeFailure, NotSupported."""
        sizes = (c_int * model.n_batch)()
        self.call("rkllm_get_kv_cache_size", model.pointer, sizes)
        return list(sizes)

    def remember_kv_cache_sizes(self, model: Model) -> None:
        """Note the sizes while the model is idle, for rkllm.get_kv_cache_size while the next call runs."""
        try:
            model.kv_cache_sizes = self.kv_cache_sizes(model)
        except (NotSupported, RuntimeFailure):  # the run does not depend on it
            model.kv_cache_sizes = []


def describe_library(config: Config) -> str:
    """Return a line about the library that would be used, without loading it (for ``rkllmd --version``)."""
    return c_runtime.describe_library(
        config.runtime,
        config.rkllm_library,
        RKLLM_FILE,
        lambda: c_runtime.describe_file(portable.library_path(), RKLLM_FILE),
    )
