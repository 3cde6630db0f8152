"""The table of methods: every module is found, and each says of itself what C and the protocol say."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

import rkllmd
from rkllmd.abi.json import schemas
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.calls import registry
from rkllmd.calls.binding.params import Given
from rkllmd.calls.declaration import COnly, Handle, Kind, StructParameter, Value, method
from tests import facts as layout_facts

METHODS = registry.discover()
C_METHODS = {item.c_function: item for item in METHODS.values() if item.c_function}
ALL = pytest.mark.parametrize("name", sorted(METHODS))

# Protocol, section 3.
KINDS = {
    Kind.INSTANT: {
        "rkllm.get_functions",
        "rkllm.get_constants",
        "rkllm.get_kv_cache_size",
        "rkllm.createDefaultParam",
        "rkllm.abort",
        "rkllm.is_running",
        "rknn.get_functions",
        "rknn.get_constants",
        "rknn.query",
        "rknn.custom_op_get_op_attr",
    },
    Kind.ORDERED: {
        "rkllm.clear_kv_cache",
        "rkllm.set_chat_template",
        "rkllm.set_function_tools",
        "rkllm.set_cross_attn_params",
        "rkllm.release_prompt_cache",
        "rknn.create_mem",
        "rknn.create_mem2",
        "rknn.create_mem_from_fd",
        "rknn.create_mem_from_mb_blk",
        "rknn.create_mem_from_phys",
        "rknn.destroy_mem",
        "rknn.matmul_get_quant_params",
        "rknn.matmul_set_core_mask",
        "rknn.matmul_set_dynamic_shape",
        "rknn.matmul_set_io_mem",
        "rknn.matmul_set_quant_params",
        "rknn.mem_sync",
        "rknn.outputs_release",
        "rknn.register_custom_ops",
        "rknn.set_batch_core_num",
        "rknn.set_core_mask",
        "rknn.set_input_shape",
        "rknn.set_input_shapes",
        "rknn.set_internal_mem",
        "rknn.set_io_mem",
        "rknn.set_weight_mem",
    },
    Kind.NPU: {
        "rkllm.init",
        "rkllm.run",
        "rkllm.load_lora",
        "rkllm.load_prompt_cache",
        "rkllm.destroy",
        "rknn.B_normal_layout_to_native_layout",
        "rknn.destroy",
        "rknn.dup_context",
        "rknn.infer",
        "rknn.init",
        "rknn.inputs_set",
        "rknn.matmul_create",
        "rknn.matmul_create_dynamic_shape",
        "rknn.matmul_destroy",
        "rknn.matmul_run",
        "rknn.outputs_get",
        "rknn.run",
        "rknn.wait",
    },
    Kind.STREAMING: {"rkllm.run_async"},
}


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """Return the functions of the C headers, as the layout facts have them."""
    return layout_facts.functions("rkllm-1.3", *layout_facts.RKNN_HEADERS)


def test_every_module_is_a_method() -> None:
    parent = Path(rkllmd.__file__).parents[1]
    expected = {
        f"{begin}{path.stem}"
        for name, begin in registry.NAMESPACES.items()
        for path in parent.joinpath(*name.split(".")).glob("[!_]*.py")
    }
    assert METHODS.keys() == expected
    assert len(expected) > 60
    assert all(name == item.name for name, item in METHODS.items())


def test_every_c_function_is_a_method(facts: dict[str, Any]) -> None:
    assert C_METHODS.keys() == facts.keys()
    of_rkllm = {name for name in C_METHODS if name.startswith("rkllm_")}
    assert all(of_rkllm == layout.signatures.keys() for layout in LAYOUTS.values())
    assert len(C_METHODS.keys() - of_rkllm) == 35
    own = {name for name, item in METHODS.items() if name.startswith("rknn.") and item.c_function is None}
    assert own == {"rknn.infer", "rknn.get_functions", "rknn.get_constants"}


def test_a_method_is_named_as_its_c_function(facts: dict[str, Any]) -> None:
    """``rkllm_load_lora`` → ``rkllm.load_lora``: the first underscore is the dot."""
    for function in facts:
        assert C_METHODS[function].name == function.replace("_", ".", 1)


def test_parameters_are_the_c_arguments_in_their_order(facts: dict[str, Any]) -> None:
    for function, described in facts.items():
        parameters = C_METHODS[function].parameters
        in_c = [item.name for item in parameters if not isinstance(item, Value) or item.in_c]
        assert in_c == [name for name, _ in described["args"]], function


def declaration(c_type: str, name: str) -> str:
    """Return what declares ``name`` in C."""
    element = c_type.removesuffix("[]")
    return f"{element} {name}".replace("* ", "*") + c_type.removeprefix(element)


def test_signatures_are_the_headers(facts: dict[str, Any]) -> None:
    for function, described in facts.items():
        arguments = ", ".join(declaration(c_type, name) for name, c_type in described["args"])
        assert C_METHODS[function].c_signature == f"{declaration(described['returns'], function)}({arguments})"


def test_structs_are_those_of_the_c_arguments(facts: dict[str, Any]) -> None:
    for function, described in facts.items():
        types = dict(described["args"])
        for item in C_METHODS[function].parameters:
            if isinstance(item, StructParameter):
                assert types[item.name] in (f"{item.c_type} *", f"{item.c_type}[]")
                assert types[item.name].endswith("[]") <= item.many, "one or an array"
            if isinstance(item, Handle):
                assert types[item.name] in C_HANDLES[item.types]


C_HANDLES = {
    ("llm",): {"LLMHandle"},
    ("context",): {"rknn_context", "rknn_context *"},
    ("context", "matmul"): {"rknn_context"},
    ("matmul",): {"rknn_matmul_ctx"},
    ("memory",): {"rknn_tensor_mem *"},
}


def test_kinds_are_those_of_the_protocol() -> None:
    of_c = ("rkllm.", "rknn.")
    for kind, names in KINDS.items():
        assert {item.name for item in METHODS.values() if item.kind is kind and item.name.startswith(of_c)} == names
    own = {item.name for item in METHODS.values() if item.kind is not Kind.INSTANT and not item.name.startswith(of_c)}
    files = {"server.drop_prompt_cache", "server.drop_session"}
    assert own == {"server.count_tokens", *files}, "they work with C or with files, and overtake no load"


def test_what_makes_or_releases_handles_says_so() -> None:
    """A call with a null handle must not be prepared before what waits in front of it has changed what null means."""
    changed: dict[str, set[str]] = {"llm": set(), "context": set(), "matmul": set(), "memory": set()}
    for item in METHODS.values():
        for handles in item.changes:
            changed[handles].add(item.name)
    assert changed == {
        "llm": {"rkllm.init", "rkllm.destroy"},
        "context": {"rknn.init", "rknn.dup_context", "rknn.destroy"},
        "matmul": {"rknn.matmul_create", "rknn.matmul_create_dynamic_shape", "rknn.matmul_destroy"},
        "memory": {name for name in METHODS if name.startswith("rknn.create_mem")}
        | {"rknn.destroy_mem", "rknn.destroy", "rknn.matmul_destroy"},
    }
    assert all(item.kind is not Kind.INSTANT for item in METHODS.values() if item.changes)
    assert {item.name for item in METHODS.values() if item.known is not None} == {
        "rkllm.get_kv_cache_size",
        "rknn.query",
    }


@ALL
def test_every_method_is_described(name: str) -> None:
    found = METHODS[name]
    assert found.summary.endswith(".")
    assert len(found.summary) > 15
    assert callable(found.call)
    assert found.call.__doc__


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for name, value in schema.items():
            for child in value.values() if name == "properties" else [value]:
                yield from subschemas(child)
    elif isinstance(schema, list):
        for item in schema:
            yield from subschemas(item)


# What draft 7 (OpenRPC's) and draft 2020-12 read alike; what costs or can be made to cost is not among them.
COMMON = {
    "title",
    "description",
    "default",
    "type",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "anyOf",
}


@ALL
def test_every_schema_is_valid_in_both_drafts(name: str) -> None:
    for parameter in METHODS[name].json_parameters:
        Draft7Validator.check_schema(parameter.schema)
        Draft202012Validator.check_schema(parameter.schema)
        schemas.prepare(parameter.schema)
        for part in subschemas(parameter.schema):
            assert part.keys() <= COMMON, parameter.name
            assert not isinstance(part.get("items"), list), "a tuple in draft 7, an error in 2020-12"
            assert "items" not in part or part["maxItems"] <= 1024, "to check each takes microseconds"


VALUES: list[Any] = [None, 1, True, "x", 1.5, [], [1], ["x"], {}, {"prompt": "x"}, {"x": 1}, {"model_path": "/m"}]


@ALL
def test_schemas_mean_the_same_in_both_drafts_and_here(name: str) -> None:
    for parameter in METHODS[name].json_parameters:
        drafts = [Draft7Validator(parameter.schema), Draft202012Validator(parameter.schema)]
        fits = schemas.prepare(parameter.schema)
        for value in VALUES:
            assert {validator.is_valid(value) for validator in drafts} == {fits(value)}, (parameter.name, value)


# Declarations


def module(*functions: Any, doc: str = "") -> types.ModuleType:
    made = types.ModuleType("example", doc)
    for index, function in enumerate(functions):
        setattr(made, f"function{index}", function)
    return made


def declared(*parameters: Any, **options: Any) -> Any:
    return method(Kind.INSTANT, parameters, **options)(lambda: None)


def test_a_module_declares_exactly_one_method() -> None:
    with pytest.raises(TypeError, match="exactly one method, it declares 0"):
        registry._method(module(len), "x.y")
    with pytest.raises(TypeError, match="exactly one method, it declares 2"):
        registry._method(module(declared(), declared()), "x.y")


def test_a_declaration_becomes_a_method() -> None:
    def check() -> None:
        pass

    def known() -> bool:
        return True

    parameters = (Handle("handle", ("llm",), "model"), COnly("out"), Value("value", {"type": "integer"}))
    function = declared(*parameters, check=check, abort=check, group="config", changes=["llm"], known=known)
    text = "x_y: do it.\n\nC: const char *x_y(LLMHandle handle,\n    int *out, int value)\n\nMore (in brackets).\n"
    found = registry._method(module(function, doc=text), "x.y")
    assert found.call is function
    assert (found.name, found.kind, found.summary) == ("x.y", Kind.INSTANT, "do it.")
    assert found.c_signature == "const char *x_y(LLMHandle handle, int *out, int value)"
    assert found.c_function == "x_y"
    assert found.parameters == parameters
    assert [item.name for item in found.json_parameters] == ["handle", "value"]
    assert (found.check, found.abort, found.group) == (check, check, "config")
    assert found.changes == {"llm"}
    assert found.known is known
    assert found.handle == parameters[0]
    plain = registry._method(module(declared()), "x.y")
    assert (plain.changes, plain.known, plain.handle) == (frozenset(), None, None)


def test_a_method_of_the_daemons_own_has_no_c_function() -> None:
    found = registry._method(module(declared(), doc="server.x: what it does.\n"), "server.x")
    assert found.c_signature is None
    assert found.c_function is None


@pytest.mark.parametrize("name", ["rknn.run", "rknn.wait"])
def test_a_run_that_goes_on_when_its_call_returns_is_not_made_between_tokens(name: str) -> None:
    """The generation that waits at the token would go on beside it."""
    assert METHODS[name].may_run_between_tokens({})
    assert METHODS[name].may_run_between_tokens({"extend": Given({"non_block": 0}, "$.extend")})
    assert not METHODS[name].may_run_between_tokens({"extend": Given({"non_block": 1}, "$.extend")})


def test_what_ends_others_or_loads_is_not_made_between_tokens() -> None:
    """The run that waits may be reading what they release."""
    refused = {
        name for name, found in METHODS.items() if name.startswith("rknn.") and not found.may_run_between_tokens({})
    }
    assert refused == {
        "rknn.destroy",
        "rknn.destroy_mem",
        "rknn.dup_context",
        "rknn.init",
        "rknn.matmul_create",
        "rknn.matmul_create_dynamic_shape",
        "rknn.matmul_destroy",
    }
    assert not any(found.may_run_between_tokens({}) for name, found in METHODS.items() if not name.startswith("rknn."))
