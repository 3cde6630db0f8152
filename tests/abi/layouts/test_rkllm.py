"""Every struct, enum, macro and function of each layout is what the facts say (rkllm.h: test_architecture.py)."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts import rkllm, rkllm_1_2, rkllm_1_3, rkllm_1_3_1, rkllm_common
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout
from tests.facts import RKLLM_LAYOUTS

SIMPLE_TYPES = {
    "int32_t": c_int32,
    "int8_t": c_int8,
    "uint32_t": c_uint32,
    "uint8_t": c_uint8,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "int": c_int,
    "float": c_float,
    "bool": ctypes.c_bool,
    "char *": c_char_p,
    "void *": c_void_p,
    "uint8_t[104]": c_uint8 * 104,
    "LLMHandle": rkllm.LLMHandle,
    "LLMResultCallback": rkllm.LLMResultCallback,
    "LLMTokenizerCallback": rkllm.LLMTokenizerCallback,
    "LLMGetEmbedCallback": rkllm.LLMGetEmbedCallback,
}
ENUMS = {
    "LLMCallState": rkllm.LLMCallState,
    "RKLLMInputType": rkllm.RKLLMInputType,
    "RKLLMInferMode": rkllm.RKLLMInferMode,
}


@pytest.fixture(params=RKLLM_LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


def c_type(text: str, layout: Layout) -> Any:
    """Return the ctypes type that stands for a C type."""
    text = text.removeprefix("const ")
    if text in SIMPLE_TYPES:
        return SIMPLE_TYPES[text]
    if text in ENUMS:
        return c_int
    if text in layout.structs:
        return layout.structs[text]
    assert text.endswith(" *"), text
    return POINTER(c_type(text.removesuffix(" *"), layout))


def check_fields(struct: Any, facts: list[dict[str, Any]], layout: Layout) -> None:
    assert [fact["name"] or "_union" for fact in facts] == [name for name, _ in struct._fields_]
    for fact, (name, field_type) in zip(facts, struct._fields_, strict=True):
        descriptor = getattr(struct, name)
        assert (descriptor.offset, ctypes.sizeof(field_type)) == (fact["offset"], fact["size"]), (struct, name)
        if "fields" in fact:
            assert issubclass(field_type, ctypes.Union if fact["kind"] == "union" else ctypes.Structure)
            check_fields(field_type, fact["fields"], layout)
        else:
            assert field_type is c_type(fact["type"], layout), (struct, name)
            assert (fact["type"] in ENUMS) == (name in getattr(struct, "_enums_", ()))
            if fact["type"] in ENUMS:
                assert struct._enums_[name] is ENUMS[fact["type"]]


def test_structs(layout: Layout, facts: dict[str, Any]) -> None:
    ours = {"RKLLMImageInput", "RKLLMVideoInput", "RKLLMAudioInput"}  # named by us
    assert layout.structs.keys() - ours == facts[layout.name]["structs"].keys()
    for name, fact in facts[layout.name]["structs"].items():
        struct = layout[name]
        assert (ctypes.sizeof(struct), ctypes.alignment(struct)) == (fact["size"], fact["align"]), name
        check_fields(struct, fact["fields"], layout)


def test_enums_and_macros(layout: Layout, facts: dict[str, Any]) -> None:
    for name, members in facts[layout.name]["enums"].items():
        assert {item.name: item.value for item in ENUMS[name]} == members
    assert facts[layout.name]["enums"].keys() == ENUMS.keys()
    assert {item.name: item.value for item in rkllm.CpuMask} == facts[layout.name]["macros"]


def test_typedefs(layout: Layout, facts: dict[str, Any]) -> None:
    for name, text in facts[layout.name]["typedefs"].items():
        ours = getattr(rkllm, name)
        match = re.fullmatch(r"(\w+) \(\*\)\((.*)\)", text)
        if match is None:
            assert ours is c_type(text, layout)
            continue
        assert ours._restype_ is c_type(match[1], layout)
        expected = [c_type(item, layout) for item in match[2].split(", ")]
        # The tokenizer's text has a length; as c_char_p ctypes would read on to a NUL.
        assert [c_char_p if t is POINTER(ctypes.c_char) else t for t in ours._argtypes_] == expected


def test_functions(layout: Layout, facts: dict[str, Any]) -> None:
    assert list(layout.signatures) == list(facts[layout.name]["functions"])
    assert len(layout.signatures) == 15
    for name, fact in facts[layout.name]["functions"].items():
        signature = layout.signatures[name]
        assert signature.restype is c_type(fact["returns"], layout)
        expected = [(argument, c_type(text, layout)) for argument, text in fact["args"]]
        assert list(signature.arguments.items()) == expected, name
        assert signature.argtypes == [argument for _, argument in expected]


@pytest.mark.parametrize(
    ("module", "layout_name"), [(rkllm_1_2, "1.2"), (rkllm_1_3, "1.3"), (rkllm_1_3_1, "1.3.1"), (rkllm_common, "1.3")]
)
def test_c_text_above_each_struct(module: Any, layout_name: str, facts: dict[str, Any]) -> None:
    """The comment that a reviewer reads is checked as well."""
    source = Path(module.__file__).read_text()
    texts = {
        match[2]: match[1] for match in re.finditer(r"^# typedef struct \{\n((?:# .*\n)*?)# \} (\w+);\n", source, re.M)
    }
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    assert texts.keys() == own & facts[layout_name]["structs"].keys()
    for name, text in texts.items():
        lines = [re.sub(r"\s*/\*.*", "", line[1:]).strip() for line in text.splitlines()]
        assert lines == list(c_lines(facts[layout_name]["structs"][name]["fields"])), name
    shown = re.findall(r"^ *# (?:1\.\d: )?(\w+ rkllm_\w+\([^;]*\);)", Path(rkllm.__file__).read_text(), re.M)
    declared = {" ".join(text.replace("#", " ").split()) for text in shown}
    for name, fact in facts[layout_name]["functions"].items():
        arguments = ", ".join(declaration(kind, argument) for argument, kind in fact["args"]) or "void"
        assert f"{fact['returns']} {name}({arguments});" in declared


def declaration(kind: str, name: str) -> str:
    """Return ``kind name`` as C writes it."""
    if "[" in kind:
        return f"{kind[: kind.index('[')]} {name}{kind[kind.index('[') :]}"
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"


def c_lines(fields: list[dict[str, Any]]) -> Any:
    for field in fields:
        if "fields" in field:
            yield f"{field['kind']} {{"
            yield from c_lines(field["fields"])
            yield f"}} {field['name']};" if field["name"] else "};"
        else:
            yield declaration(field["type"], field["name"]) + ";"
