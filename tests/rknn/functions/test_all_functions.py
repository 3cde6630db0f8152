"""Every C function of RKNN is a method, and each call has its effect in the runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests import facts
from tests.rknn.board import Client
from tests.rknn.functions import contexts, matmuls, memories, operators
from tests.rknn.functions.cases import CASES

# Each of them has its cases in CASES.
MODULES = (contexts, memories, matmuls, operators)


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    """C function → its facts."""
    return facts.functions(*facts.RKNN_HEADERS)


def test_the_methods_are_the_functions_of_the_headers(portable: Client, functions: dict[str, Any]) -> None:
    answered = portable.result("rknn.get_functions")
    assert answered.keys() == functions.keys() == CASES.keys()
    assert len(answered) == 35
    for name, described in answered.items():
        assert described["method"] == f"rknn.{name.removeprefix('rknn_')}"
        c_names = [argument for argument, _ in functions[name]["args"]]
        given = described["signature"].partition("(")[2]
        positions = [given.index(c_name) for c_name in c_names]
        assert positions == sorted(positions), f"{name} has its parameters in the order of C"


def test_discovery_has_a_schema_for_each(portable: Client) -> None:
    methods = {method["name"]: method for method in portable.result("rpc.discover")["methods"]}
    for name in (*CASES, "rknn_infer", "rknn_get_functions", "rknn_get_constants"):
        assert methods[f"rknn.{name.removeprefix('rknn_')}"]["x-kind"] in ("instant", "ordered", "npu")


@pytest.mark.parametrize("function", list(CASES))
def test_each_function_has_its_effect(function: str, request: pytest.FixtureRequest) -> None:
    prove = CASES[function]
    names = [name for name in prove.__annotations__ if name != "return"]
    fixtures = {name: request.getfixturevalue(name) for name in names}
    prove(**fixtures)
    wire = fixtures.get("portable") or fixtures["simulator"]
    assert f"rknn.{function.removeprefix('rknn_')}" in wire.asked
