"""Structs and functions on each machine that a board or a laptop may be: from the compilers' own mouths."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi import architecture, library, rknn_library
from rkllmd.errors import RuntimeUnavailable
from tests import facts
from tests.facts.assertions import assertions, compile_assertions
from tests.simulator import build as simulators

COMPILERS = {
    "this machine": ("cc", facts.OURS),
    "x86-64": ("x86_64-linux-gnu-gcc", "lp64"),
    "aarch64": ("aarch64-linux-gnu-gcc", "lp64"),
    "armhf": ("arm-linux-gnueabihf-gcc", "arm32"),
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a compiler and the data model that it compiles for."""
    command, data_model = COMPILERS[request.param]
    if shutil.which(command) is None:
        package = "gcc" if command == "cc" else f"gcc-{command.removesuffix('-gcc').replace('_', '-')}"
        pytest.skip(f"{command} is not installed: apt install {package}")
    return command, data_model


@pytest.fixture(scope="module")
def mirrors() -> Callable[[str], dict[str, Any]]:
    """Return what the mirrors declare, laid out for a data model: header → ``structs`` and ``functions``."""
    found: dict[str, Any] = {}

    def of(data_model: str) -> dict[str, Any]:
        if data_model not in found:
            command = [sys.executable, "-m", "tests.abi.symbolic_ctypes", data_model]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            found[data_model] = json.loads(done.stdout)
        return dict(found[data_model])

    return of


# ---- C --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", facts.HEADERS)
def test_our_headers_have_the_layouts_of_the_facts(name: str, compiler: tuple[str, str]) -> None:
    command, data_model = compiler
    read = facts.read(name, data_model)
    assert len([*assertions(read)]) > 40
    assert compile_assertions(command, name, read) == ""


def test_a_wrong_number_does_not_compile(compiler: tuple[str, str]) -> None:
    command, data_model = compiler
    read = facts.read("rkllm-1.3.1", data_model)
    wrong = copy.deepcopy(read)
    wrong["structs"]["RKLLMMultiModalInput"]["fields"][3]["offset"] += 4
    assert "RKLLMMultiModalInput, audio" in compile_assertions(command, "rkllm-1.3.1", wrong)
    # 1.3.0 and 1.3.1 differ in this alone.
    assert "sizeof(RKLLMMultiModalInput)" in compile_assertions(command, "rkllm-1.3", read)


@pytest.mark.parametrize("layout", [*facts.RKLLM_LAYOUTS, "rknn"])
def test_the_simulators_compile_without_a_warning(layout: str, compiler: tuple[str, str]) -> None:
    if layout == "rknn":
        macros = ["-DSIMULATES_RKNN", '-DRKNN_VERSION="2.3.2"', f"-I{simulators.SOURCES}"]
        sources = simulators.rknn_sources()
    else:
        macros = [facts.layout_macro(layout), '-DRKLLM_VERSION="x"']
        sources = [*simulators.SOURCES.glob("*.c")]
    flags = [flag for flag in simulators.FLAGS if flag not in ("-g", "-O1", "-shared")]
    command = [compiler[0], *flags, "-fsyntax-only", *macros, f"-I{simulators.HEADERS}", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_sizes_that_were_measured_on_a_board() -> None:
    """By a C program that was compiled with the vendor's headers, on an RK3588."""
    for layout, multimodal, whole in (("1.3", 144, 160), ("1.3.1", 192, 208)):
        structs = facts.read(f"rkllm-{layout}", "lp64")["structs"]
        assert (structs["RKLLMMultiModalInput"]["size"], structs["RKLLMInput"]["size"]) == (multimodal, whole)
        assert structs["RKLLMInput"]["fields"][3]["offset"] == 16
        sizes = {"Param": 184, "ExtendParam": 120, "InferParam": 40, "SamplingParam": 36, "Result": 72, "Callback": 48}
        assert {name: structs[f"RKLLM{name}"]["size"] for name in sizes} == sizes
    audio = facts.read("rkllm-1.3.1", "lp64")["structs"]["RKLLMMultiModalInput"]["fields"][3]
    assert (audio["name"], audio["offset"], audio["size"]) == ("audio", 144, 48)


def test_a_context_of_32_bit_arm_is_narrow() -> None:
    """Every argument behind a context of 64 bits would be shifted there: rknn_query died of that."""
    for data_model, kind in (("arm32", "uint32_t"), ("lp64", "uint64_t")):
        assert facts.read("rknn_api", data_model)["typedefs"]["rknn_context"] == kind
        assert facts.read("rknn_custom_op", data_model)["typedefs"]["rknn_custom_op_interal_context"] == kind


# ---- the mirrors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_model", facts.DATA_MODELS)
@pytest.mark.parametrize("name", facts.HEADERS)
def test_the_mirrors_have_the_layouts_of_the_facts(name: str, data_model: str, mirrors: Any) -> None:
    declared = mirrors(data_model)[name]["structs"]
    for struct, fact in facts.read(name, data_model)["structs"].items():
        found = declared[struct]
        assert (found["size"], found["align"]) == (fact["size"], fact["align"]), struct
        expected = {
            item["name"] or "_union": {"offset": item["offset"], "size": item["size"]} for item in fact["fields"]
        }
        assert found["fields"] == expected, struct


@pytest.mark.parametrize("data_model", facts.DATA_MODELS)
@pytest.mark.parametrize("name", facts.HEADERS)
def test_the_signatures_pass_arguments_of_the_right_size(name: str, data_model: str, mirrors: Any) -> None:
    declared = mirrors(data_model)[name]["functions"]
    read = [
        facts.read(header, data_model) for header in facts.HEADERS if header == name or header in facts.RKNN_HEADERS
    ]
    for function, fact in facts.read(name, data_model)["functions"].items():
        expected = [[argument, _size(text, read, data_model)] for argument, text in fact["args"]]
        assert declared[function]["args"] == expected, function
        assert declared[function]["returns"] == _size(fact["returns"], read, data_model), function


def _size(text: str, read: list[dict[str, Any]], data_model: str) -> int | None:
    """Return the size of a C type in an argument; None for void."""
    if text.endswith(("*", "[]")) or "(*)" in text:
        return 8 if data_model == "lp64" else 4
    for header in read:
        if text in header["typedefs"]:
            return _size(header["typedefs"][text], read, data_model)
        if text in header["structs"]:
            return int(header["structs"][text]["size"])
        if text in header["enums"]:
            return 4
    if exact := re.fullmatch(r"u?int(\d+)_t", text):
        return int(exact[1]) // 8
    return {"int": 4, "float": 4, "void": None}[text]


# ---- machines that nobody knows -------------------------------------------------------------------------------------


def test_a_machine_without_facts_is_refused_by_name(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architecture, "HAS_KNOWN_LAYOUTS", False)
    rknn = tmp_path / "librknnrt.so"
    rknn.write_bytes(b"librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)")
    path = tiny("1.3", "1.3.0")
    loads: list[tuple[Callable[..., Any], Path]] = [(library.load, path), (rknn_library.load, rknn)]
    for load, name in loads:
        with pytest.raises(RuntimeUnavailable, match=r"32-bit ARM \(armhf\), and this is") as caught:
            load(name)
        assert (caught.value.data["found"], architecture.describe() in caught.value.message) == (str(name), True)
    # What was compiled here, from our own header, agrees with ctypes on any machine.
    assert library.load(path, built_here=True).layout.name == "1.3"


@pytest.mark.parametrize(("machine", "known"), [("armv7l", True), ("aarch64", True), ("i686", False), ("mips", False)])
def test_which_32_bit_machines_are_known(machine: str, known: bool) -> None:
    """A 32-bit process may run on a 64-bit kernel, whose name it sees."""
    code = f"""
import os, sys
from tests.abi import symbolic_ctypes
sys.modules["ctypes"] = symbolic_ctypes.make("arm32")
kernel = os.uname()
os.uname = lambda: os.uname_result((*kernel[:4], {machine!r}))
from rkllmd.abi import architecture
print(architecture.IS_ARM_32, architecture.HAS_KNOWN_LAYOUTS, architecture.NATIVE_HANDLE.size)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [str(known), str(known), "4" if known else "8"]
