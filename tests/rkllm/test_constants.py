"""rkllm.get_constants: names that clients may send where C has a number."""

from __future__ import annotations

from tests import facts as layout_facts
from tests.rkllm.board import Board


def test_the_groups_are_those_of_the_header(board: Board) -> None:
    facts = layout_facts.read(f"rkllm-{board.layout}")
    constants = board.result("rkllm.get_constants")
    assert set(constants) == {"CPU_MASKS", "LLM_CALL_STATES", "INPUT_TYPES", "INFER_MODES"}
    enums = facts["enums"]
    assert constants["LLM_CALL_STATES"] == enums["LLMCallState"]
    assert constants["INPUT_TYPES"] == enums["RKLLMInputType"]
    assert constants["INFER_MODES"] == enums["RKLLMInferMode"]
    assert constants["CPU_MASKS"] == facts["macros"]


def test_they_need_no_model_and_no_parameters(board: Board) -> None:
    assert board.result("rkllm.get_constants", []) == board.result("rkllm.get_constants", {})
    for method in ("rkllm.get_constants", "rkllm.get_functions", "rkllm.createDefaultParam"):
        error = board.refused(method, [1])
        assert (error["code"], error["path"], error["keyword"]) == (-32602, "$[0]", "maxItems")
        error = board.refused(method, {"x": 1})
        assert (error["code"], error["path"], error["keyword"]) == (-32602, "$.x", "additionalProperties")
