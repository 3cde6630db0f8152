"""C that compiles only where a header of ours has the layouts, numbers and functions of the facts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rkllmd.abi
from tests.facts import layout_macro

INCLUDE = Path(rkllmd.abi.__file__).parent
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", "-x", "c", "-fsyntax-only")


def compile_assertions(compiler: str, name: str, facts: dict[str, Any]) -> str:
    """Let a compiler check our header against the facts of ``name``; return its complaints, "" for none."""
    source = "\n".join([f'#include "{header(name)}"', "#include <stddef.h>", *assertions(facts)]) + "\n"
    macros = [layout_macro(name.removeprefix("rkllm-"))] if name.startswith("rkllm-") else []
    done = subprocess.run([compiler, *FLAGS, *macros, "-"], input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or done.stderr, done
    return done.stderr


def header(name: str) -> str:
    """Return the header of ours that states what the header of these facts does."""
    return "rkllm.h" if name.startswith("rkllm-") else "rknn.h"


def assertions(facts: dict[str, Any]) -> Iterator[str]:
    """Yield static assertions: sizes, alignments, offsets, constants, typedefs, and the types of functions."""
    for name, struct in facts["structs"].items():
        yield _assert(f"sizeof({name}) == {struct['size']}")
        yield _assert(f"_Alignof({name}) == {struct['align']}")
        yield from _of_fields(name, struct["fields"], "", 0)
    for members in [*facts["enums"].values(), facts["macros"]]:
        for name, value in members.items():
            yield _assert(f"{name} == {value}")
    for name, text in facts["typedefs"].items():
        pointer = text.replace("(*)", f"(*expected_{name})") if "(*)" in text else f"{text} expected_{name}"
        yield f"extern {pointer};"
        yield _assert(f"__builtin_types_compatible_p(__typeof__(expected_{name}), {name})")
    for name, function in facts["functions"].items():
        arguments = ", ".join(kind.replace("[]", " *") for _, kind in function["args"]) or "void"
        yield f"{function['returns']} (*check_{name})({arguments}) = {name};"


def _assert(condition: str) -> str:
    return f'_Static_assert({condition}, "{condition}");'


def _of_fields(struct: str, fields: list[dict[str, Any]], prefix: str, base: int) -> Iterator[str]:
    for field in fields:
        offset = base + field["offset"]
        if field["name"] is not None:
            path = prefix + field["name"]
            yield _assert(f"offsetof({struct}, {path}) == {offset}")
            yield _assert(f"sizeof((({struct} *)0)->{path}) == {field['size']}")
        nested = prefix if field["name"] is None else f"{prefix}{field['name']}."
        yield from _of_fields(struct, field.get("fields", []), nested, offset)
