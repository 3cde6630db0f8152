"""The RKNN runtime: which library was chosen and why, and calls into it together with what it printed."""

from __future__ import annotations

import os
from pathlib import Path

from rkllmd.abi import rknn_library
from rkllmd.abi.c import CFunction, Pointer
from rkllmd.abi.layouts.rknn import rknn_tensor_mem
from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.abi.library import Functions, find
from rkllmd.config.settings import Config
from rkllmd.errors import RuntimeFailure
from rkllmd.machine import c_runtime
from rkllmd.machine.c_runtime import CRuntime, choose, last_words, needs_a_name, no_handle
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable import rknn as portable


class RknnRuntime(CRuntime[Functions]):
    """The chosen RKNN runtime."""

    def __init__(self, config: Config, platform: Platform, output: RuntimeOutput) -> None:
        """Choose and load the library; if that fails, each call reports it, not this constructor."""
        name, reason = choose(config.runtime, config.rknn_library, platform)
        super().__init__(name, reason, output, lambda: _load(name, config))

    @property
    def can_be_interrupted(self) -> bool:
        """Return whether runs and loads can be made to end (``interruption.py``): only the portable runtime's can."""
        return self.name == "portable"

    @property
    def shapes_follow_values(self) -> bool:
        """Return whether the shape of an output may differ from run to run.

        An ONNX graph may compute the shape. A program for an NPU is made for the shapes of its inputs.
        """
        return self.name == "portable"

    def failure(self, function: str, status: int, lines: list[str]) -> RuntimeFailure:
        """Return the error for a call that failed, with the name of its status."""
        name = rknn_error(status).name if status in set(rknn_error) else None
        return RuntimeFailure(
            f"{function} failed with {name or 'status'} ({status}){last_words(lines)}",
            function=function,
            status=status,
            status_name=name,
            log=lines,
        )

    def create_memory(self, function: str, *arguments: object) -> Pointer[rknn_tensor_mem]:
        """Call one of the functions that make a tensor memory. Raises RuntimeFailure with the runtime's own lines."""
        pointer, lines = self.invoke(function, *arguments)
        if not pointer:
            raise no_handle(function, None, lines)
        made: Pointer[rknn_tensor_mem] = pointer
        return made


class _Late(dict[str, CFunction]):
    """The portable runtime's functions: all of them are made when the first one is called."""

    def __contains__(self, name: object) -> bool:
        return name in rknn_library.SIGNATURES or super().__contains__(name)

    def __missing__(self, name: str) -> CFunction:
        self.update(portable.functions())
        return dict(self)[name]


def describe_library(config: Config) -> str:
    """Return a line about the library that would be used, without loading it (for ``rkllmd --version``)."""
    return c_runtime.describe_library(config.runtime, config.rknn_library, rknn_library.RKNN_FILE, _describe_portable)


def _describe_portable() -> str:
    portable.check_installed()
    return f"{portable.VERSION}, over ONNX Runtime"


def _load(name: str, config: Config) -> Functions:
    if name == "portable":
        portable.check_installed()
        return rknn_library.in_python(_Late(), portable.VERSION, Path(portable.__file__).parent)
    if name == "simulator" and not config.rknn_library:
        raise needs_a_name(rknn_library.RKNN_FILE.option)
    path = find(config.rknn_library or None, os.environ, rknn_library.RKNN_FILE)
    return rknn_library.load(path, None if config.rknn_layout == "auto" else config.rknn_layout)
