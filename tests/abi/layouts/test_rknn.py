"""Every struct, enum, macro and function of RKNN is what the facts say (rknn.h: test_architecture.py)."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.c_types import Signature, Struct
from rkllmd.abi.layouts import rknn, rknn_constants, rknn_custom_op, rknn_matmul

MODULES = {"rknn_api": rknn, "rknn_matmul_api": rknn_matmul, "rknn_custom_op": rknn_custom_op}
NAMES = {name: item for module in (rknn_constants, *MODULES.values()) for name, item in vars(module).items()}
MACRO_GROUPS = (rknn_constants.rknn_flag, rknn_constants.rknn_mem_flag, rknn_constants.rknn_error)
SIMPLE_TYPES = {
    "void": None,
    "int": ctypes.c_int,
    "float": ctypes.c_float,
    "char": ctypes.c_char,
    "char *": ctypes.c_char_p,
    "void *": ctypes.c_void_p,
    **{f"{sign}int{bits}_t": getattr(ctypes, f"c_{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
CALLBACKS = {
    "int (*)(rknn_custom_op_context *)": rknn_custom_op.CustomOpDestroy,
    "int (*)(rknn_custom_op_context *, rknn_custom_op_tensor *, uint32_t, rknn_custom_op_tensor *, uint32_t)": (
        rknn_custom_op.CustomOpCallback
    ),
    "rknn_custom_op *(*)()": rknn_custom_op.get_custom_op_func,
}


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def c_type(text: str) -> Any:
    """Return the ctypes type that stands for a C type; an enum is an int."""
    text = text.removeprefix("const ")
    if array := re.fullmatch(r"(.+?)\[(\d+)\](.*)", text):
        return c_type(array[1] + array[3]) * int(array[2])
    if text.endswith("[]"):
        return POINTER(c_type(text.removesuffix("[]")))
    if text in CALLBACKS:
        return CALLBACKS[text]
    if text in SIMPLE_TYPES:
        return SIMPLE_TYPES[text]
    if text.endswith(" *"):
        return POINTER(c_type(text.removesuffix(" *")))
    found = NAMES[text]
    return ctypes.c_int if isinstance(found, type) and issubclass(found, int) else found


def test_structs(name: str, rknn_facts: dict[str, Any]) -> None:
    facts = rknn_facts[name]["structs"]
    module = MODULES[name]
    own = {key for key, item in vars(module).items() if getattr(item, "__module__", "") == module.__name__}
    assert {key for key in own if isinstance(getattr(module, key), type) and key != "Struct"} - facts.keys() <= (
        rknn_facts[name]["enums"].keys() | {"CustomOpCallback", "CustomOpDestroy", "get_custom_op_func"}
    )
    for struct_name, fact in facts.items():
        struct = getattr(module, struct_name)
        assert issubclass(struct, Struct)
        assert (ctypes.sizeof(struct), ctypes.alignment(struct)) == (fact["size"], fact["align"]), struct_name
        assert [item["name"] for item in fact["fields"]] == [field for field, _ in struct._fields_]
        for item, (field, field_type) in zip(fact["fields"], struct._fields_, strict=True):
            assert (getattr(struct, field).offset, ctypes.sizeof(field_type)) == (item["offset"], item["size"]), field
            assert field_type is c_type(item["type"]), (struct_name, field)
            if item["type"] in NAMES and issubclass(NAMES[item["type"]], int):
                assert struct._enums_[field] is NAMES[item["type"]]


def test_enums_macros_and_typedefs(name: str, rknn_facts: dict[str, Any]) -> None:
    facts = rknn_facts[name]
    for enum, members in facts["enums"].items():
        assert {key: int(item) for key, item in NAMES[enum].__members__.items()} == members
    grouped = {key: int(item) for group in MACRO_GROUPS for key, item in group.__members__.items()}
    for macro, value in facts["macros"].items():
        assert grouped.get(macro, NAMES.get(macro)) == value, macro
    for typedef, text in facts["typedefs"].items():
        assert NAMES[typedef] is c_type(text)


def test_functions(name: str, rknn_facts: dict[str, Any]) -> None:
    signatures: dict[str, Signature] = MODULES[name].SIGNATURES
    facts = rknn_facts[name]["functions"]
    assert list(signatures) == list(facts)
    for function, fact in facts.items():
        signature = signatures[function]
        assert list(signature.arguments.items()) == [(key, c_type(text)) for key, text in fact["args"]], function
        assert signature.restype is c_type(fact["returns"])


def test_the_numbers_of_functions(rknn_facts: dict[str, Any]) -> None:
    assert [len(module.SIGNATURES) for module in MODULES.values()] == [23, 10, 2]


def test_c_text_above_each_struct(name: str, rknn_facts: dict[str, Any]) -> None:
    """The comment that a reviewer reads is checked as well."""
    source = Path(str(MODULES[name].__file__)).read_text()
    texts = {
        match[2]: match[1] for match in re.finditer(r"^# typedef struct \{\n((?:# .*\n)*?)# \} (\w+);", source, re.M)
    }
    facts = rknn_facts[name]
    assert texts.keys() == facts["structs"].keys()
    for struct, text in texts.items():
        shown = [" ".join(line.split()) for line in text.replace("\n#", " ").strip("# \n").split(";") if line.strip()]
        assert shown == [_declaration(item["type"], item["name"]) for item in facts["structs"][struct]["fields"]]
    flat = " ".join(source.replace("#", " ").split())
    for function, fact in facts["functions"].items():
        arguments = ", ".join(_declaration(text, argument) for argument, text in fact["args"])
        assert f"{_declaration(fact['returns'], function)}({arguments});" in flat


def _declaration(text: str, name: str) -> str:
    if "(*)" in text:
        return text.replace("(*)", f"(*{name})")
    base, bracket, rest = text.partition("[")
    return f"{base}{'' if base.endswith('*') else ' '}{name}{bracket}{rest}"
