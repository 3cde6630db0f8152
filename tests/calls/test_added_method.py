"""Adding one file adds a method: in a copy of the package, on the real daemon, with a C function that no table has."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rkllmd
from rkllmd.abi import rknn_library
from rkllmd.abi.library import Functions, Identity
from rkllmd.calls import registry
from rkllmd.errors import NotSupported
from tests.daemon import Start, simulator
from tests.wire_connection import kind

CHECKOUT = Path(rkllmd.__file__).parents[1]

MODULE = '''"""rkllm_example_scale: scale numbers, and add them up.

C: int rkllm_example_scale(LLMHandle handle, const float *numbers, size_t count, double factor,
    float *sum)
"""

from __future__ import annotations

from ctypes import byref, c_float
from typing import Any

from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.calls.results import success
from rkllmd.rkllm._common import LLM

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 1}


@method(Kind.NPU, [LLM, Value("numbers", _NUMBERS), Value("factor", {"type": "number"}), COnly("sum")])
def example_scale(
    language: Language, invocation: Invocation, model: Model, numbers: list[float], factor: float
) -> dict[str, Any]:
    """Return the sum."""
    total = c_float()
    array = (c_float * len(numbers))(*numbers)
    language.runtime.call("rkllm_example_scale", model.pointer, array, len(numbers), factor, byref(total))
    return success(sum=total.value)
'''
ABSENT = MODULE.replace("example_scale", "example_absent")
LIBRARY = r"""
#include <stddef.h>
__attribute__((used)) static const char version[] = "RKLLM SDK (version: 1.3.0 | with one function more)";
int rkllm_is_running(void *handle);
int rkllm_example_scale(void *handle, const float *numbers, size_t count, double factor, float *sum)
{
    if (rkllm_is_running(handle) < 0)
        return -1; /* the handle came whole */
    for (size_t i = 0; i < count; i++)
        *sum += (float)(numbers[i] * factor);
    return 0;
}
"""


def extended(directory: Path) -> Path:
    """Return a library that is the simulator and has a function more."""
    source, library, base = directory / "extended.c", directory / "libextended.so", simulator()
    source.write_text(LIBRARY)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-Wl,--no-as-needed", str(base)]
    subprocess.run([*command, f"-Wl,-rpath,{base.parent}"], check=True)
    return library


def test_a_file_is_all_that_a_new_function_needs(start: Start, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    unwanted = shutil.ignore_patterns("__pycache__", "build")
    for package in ("rkllmd", "rknn"):
        shutil.copytree(CHECKOUT / package, copy / package, ignore=unwanted)
    (copy / "rkllmd" / "rkllm" / "example_scale.py").write_text(MODULE)
    (copy / "rkllmd" / "rkllm" / "example_absent.py").write_text(ABSENT)
    into_copy = f"import os, sys; os.chdir({str(copy)!r}); os.execv(sys.argv[1], sys.argv[1:])"
    daemon = start(library=extended(tmp_path), launcher=(sys.executable, "-c", into_copy))
    daemon.load()
    with daemon.connect() as wire:
        for params in ([None, [1.5, 2.5], 2.0], {"numbers": [1.5, 2.5], "factor": 2.0}):
            assert wire.ask("rkllm.example_scale", params)["result"] == {"success": True, "status": 0, "sum": 8.0}
        assert kind(wire.ask("rkllm.example_scale", {"numbers": []})) == "InvalidParams"
        functions = wire.ask("rkllm.get_functions")["result"]
        assert functions["rkllm_example_scale"]["method"] == "rkllm.example_scale"
        listed = [item["name"] for item in wire.ask("rpc.discover")["result"]["methods"]]
        assert "rkllm.example_scale" in listed
        absent = wire.ask("rkllm.example_absent", [None, [1.0], 1.0])
        assert kind(absent) == "NotSupported", "this library does not have it"
        assert "rkllm_example_absent" in absent["error"]["message"]


# What a library does not have


def test_a_function_with_a_type_that_a_library_does_not_have_is_not_supported() -> None:
    library = Functions("RKLLM", Path("lib.so"), Identity("1.2.3"), {}, ctypes.CDLL(None))
    library.declare("int rkllm_new(RKLLMNewer *newer)")
    with pytest.raises(NotSupported) as caught:
        library.rkllm_new(None)
    assert "RKLLMNewer" in caught.value.data["needs"]


def test_functions_that_are_made_when_the_first_is_called_stay_what_they_are() -> None:
    """The portable RKNN runtime's are: a declaration must not take their place before."""

    class Late(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            self["rknn_run"] = lambda: 5
            return dict(self)[name]

    library = rknn_library.in_python(Late(), "2.3.2", Path("here"))
    for text in ("int rknn_run(rknn_context context)", "int rknn_newer(rknn_context context)"):
        library.declare(text)
    assert library.rknn_run() == 5
    with pytest.raises(NotSupported, match=r"has no rknn_newer\."):
        library.rknn_newer()
    with pytest.raises(AttributeError):
        library.rknn_unheard_of()


def test_a_module_whose_signature_cannot_be_read_is_named() -> None:
    found = registry.discover()
    broken = found["rkllm.abort"]
    library = Functions("RKLLM", Path("lib.so"), Identity("1.2.3"), {})
    object.__setattr__(broken, "c_signature", "int rkllm_abort(LLMHandle)")
    with pytest.raises(TypeError, match=r"rkllmd\.rkllm\.abort"):
        registry.declare_functions({"rkllm.abort": broken}, "rkllm", library)
