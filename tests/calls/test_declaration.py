"""How parameters and methods are declared: what follows from a declaration."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls.declaration import (
    MAX_INPUTS,
    COnly,
    Count,
    Handle,
    Kind,
    Method,
    Parameter,
    StructParameter,
    Value,
)


def test_a_struct_that_may_be_many_is_one_or_an_array() -> None:
    one = StructParameter("rkllm_input", "RKLLMInput")
    many = StructParameter("rkllm_input", "RKLLMInput", many=True)
    assert one.schema == one.item_schema
    assert many.schema["anyOf"][0] == many.item_schema == one.item_schema
    assert many.schema["anyOf"][1]["items"] == many.item_schema
    assert "prompt_input" in many.field_names


def test_required_fields_are_those_of_c_and_the_methods_own() -> None:
    plain = StructParameter("cross_attn_params", "RKLLMCrossAttnParam")
    strict = StructParameter("cross_attn_params", "RKLLMCrossAttnParam", required_fields=["num_tokens", "encoder_mask"])
    of_c = ["encoder_k_cache", "encoder_v_cache", "encoder_mask", "encoder_pos"]
    assert plain.item_schema["required"] == of_c
    assert strict.item_schema["required"] == [*of_c, "num_tokens"]
    assert "required" not in StructParameter("rkllm_input", "RKLLMInput").item_schema
    assert "required" not in strict.fields_schema
    assert strict.fields_schema["properties"] == plain.item_schema["properties"]


def test_methods_can_be_made_without_any_module() -> None:
    """The tests of other parts do; nothing of it may depend on discovery."""
    made = Method(Kind.NPU, name="x.y", call=lambda: 5)
    assert made.call() == 5
    assert made.json_parameters == ()


def made(*parameters: Parameter, signature: str | None = None, fits: Any = None) -> Method:
    return Method(Kind.NPU, parameters, name="x.y", call=lambda: None, c_signature=signature, fits_between_tokens=fits)


LEADING = Handle("handle", ("llm",), "model")
NUMBER = Value("number", {"type": "integer"}, required=False)


def test_only_a_handle_that_is_no_leading_one_must_be_given() -> None:
    given = Handle("mem", ("memory",), "mem", required=True)
    assert LEADING.schema == {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "null or 0: the only live one",
    }
    assert given.schema == {"type": "integer", "minimum": 1, "description": "the handle of a memory"}


def test_what_c_alone_has_is_no_parameter_of_json() -> None:
    struct = StructParameter("param", "RKLLMParam")
    method = made(LEADING, COnly("out"), struct, NUMBER, COnly("userdata"))
    assert method.json_parameters == (LEADING, struct, NUMBER)
    assert method.converted_parameters == (struct, NUMBER)
    assert (method.handles, method.handle) == ((LEADING,), LEADING)


def test_a_handle_behind_another_parameter_does_not_lead() -> None:
    method = made(NUMBER, LEADING)
    assert method.handle is None
    assert method.handles == (LEADING,)
    assert made().handle is None


@pytest.mark.parametrize(
    ("parameter", "takes"),
    [
        (LEADING, False),
        (NUMBER, False),
        (COnly("out"), False),
        (Value("inputs", {}, is_tensor=True), True),
        (StructParameter("param", "RKLLMParam"), True),
    ],
    ids=lambda item: getattr(item, "name", ""),
)
def test_structs_and_tensors_may_refer_to_what_comes_beside_json(parameter: Parameter, takes: bool) -> None:
    assert made(parameter).takes_tensors is takes


@pytest.mark.parametrize(
    ("parameters", "needs"),
    [((), False), ((LEADING, NUMBER, COnly("out")), False), ((NUMBER, Value("name", {})), True)],
    ids=["none", "optional", "required"],
)
def test_a_call_without_params_is_bound_only_where_some_are_needed(
    parameters: tuple[Parameter, ...], needs: bool
) -> None:
    assert made(*parameters).needs_params is needs


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("int rkllm_abort(LLMHandle handle)", "rkllm_abort"),
        ("rknn_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size)", "rknn_create_mem"),
        (None, None),
    ],
)
def test_the_c_function_is_named_by_its_signature(signature: str | None, name: str | None) -> None:
    assert made(signature=signature).c_function == name


def test_whether_a_call_may_run_between_tokens_may_depend_on_what_it_is_given() -> None:
    assert not made().may_run_between_tokens({})
    assert made(fits=True).may_run_between_tokens({})
    depends = made(fits=lambda given: "extend" not in given)
    assert depends.may_run_between_tokens({})
    assert not depends.may_run_between_tokens({"extend": 1})


def test_names_that_a_tensor_has_too_do_not_tell_a_struct() -> None:
    struct = StructParameter("inputs", "rknn_input", many=True, or_tensors=True)
    assert "size" in struct.field_names - struct.own_names
    assert {"index", "buf"} <= struct.own_names
    assert struct.schema["anyOf"][1]["maxItems"] == MAX_INPUTS


def test_a_count_is_left_out_or_a_number_that_c_can_hold() -> None:
    count = Count("n_inputs", of="inputs")
    assert (count.required, count.of) == (False, "inputs")
    assert (count.schema["type"], count.schema["minimum"], count.schema["maximum"]) == (
        ["integer", "null"],
        0,
        2**32 - 1,
    )
