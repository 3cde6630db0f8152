"""The schemas that every request passes: what they admit, what they answer, and what they cost."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.descriptions import FIELDS
from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.json.schemas import TENSOR, check, prepare, struct_schema
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.errors import InvalidParams, RpcError
from rkllmd.wire.long_strings import LongString

RUN_INPUT = {"role": "user", "enable_thinking": False, "input_type": 0, "prompt_input": "Hello"}
RUN_PARAMS = {
    "mode": "RKLLM_INFER_GENERATE",
    "lora_params": {"lora_adapter_name": "x"},
    "prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": "/a"},
    "sampling_params": {
        "top_k": 1,
        "top_p": 0.9,
        "temperature": 0.8,
        "repeat_penalty": 1.1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "mirostat": 0,
        "mirostat_tau": 5,
        "mirostat_eta": 0.1,
    },
    "keep_history": 1,
    "max_new_tokens": 100,
}


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for child in schema.get("properties", {}).values():
        yield from subschemas(child)


def definitions() -> dict[str, dict[str, Any]]:
    """Return the schemas of all structs that a client can give, by C name, and that of a tensor."""
    return {"Tensor": TENSOR, **{name: struct_schema(name) for name in FIELDS}}


# the schemas themselves


def test_every_struct_that_a_client_can_give() -> None:
    found = definitions()
    assert found.keys() == {"Tensor", *FIELDS}
    assert orjson.loads(orjson.dumps(found)) == found
    for schema in found.values():
        Draft202012Validator.check_schema(schema)
        Draft7Validator.check_schema(schema)
        prepare(schema)
    with pytest.raises(KeyError):
        struct_schema("RKLLMNothing")


def test_every_field_is_described() -> None:
    for name, schema in definitions().items():
        assert schema["title"] == name
        for part in subschemas(schema):
            assert not part.keys() & {"pattern", "uniqueItems", "prefixItems", "$ref", "unevaluatedProperties"}
            if "properties" in part:
                assert part["additionalProperties"] is False
                assert all(item.get("description") for item in part["properties"].values()), name
        if name in FIELDS:
            assert FIELDS[name].keys() <= schema["properties"].keys()


def test_both_layouts_and_the_other_spellings() -> None:
    assert {"img_start", "ignore_eos_token", "tokenizer_path", "embedding_path"} <= struct_schema("RKLLMParam")[
        "properties"
    ].keys()
    assert {"prompt", "multimodal", "prompt_input"} <= struct_schema("RKLLMInput")["properties"].keys()
    image = struct_schema("RKLLMMultiModalInput")["properties"]
    assert {"image_embed", "image_embed_base64", "image_start", "image", "video"} <= image.keys()
    assert struct_schema("RKLLMExtendParam")["properties"]["reserved"]["items"] == {"enum": [0]}
    assert struct_schema("RKLLMCrossAttnParam")["required"][0] == "encoder_k_cache"
    assert "required" not in struct_schema("RKLLMImageInput")  # the other spelling will do


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RKLLMInput", RUN_INPUT),
        ("RKLLMInput", {"prompt": "x", "input_type": "RKLLM_INPUT_PROMPT", "enable_thinking": 1}),
        ("RKLLMInput", {"prompt_input": None, "token_input": {"input_ids": "AAAA"}}),
        ("RKLLMInput", {"multimodal": {"prompt": "x", "image_embed_base64": "AAAAAA==", "n_image_tokens": 1}}),
        ("RKLLMInput", {"multimodal_input": {"prompt": "x", "image": {"image_embed": {"fd": 0}}, "video": None}}),
        ("RKLLMInferParam", RUN_PARAMS),
        ("RKLLMInferParam", {"keep_history": True, "lora_params": None, "mode": 2.0}),
        ("RKLLMParam", {"model_path": "/m"}),
        ("RKLLMParam", {"model_path": "/m", "img_start": None, "top_k": 40.0, "extend_param": {"n_batch": 8}}),
        ("RKLLMLoraAdapter", {"lora_adapter_path": "/models/lora/coding.rkllm"}),
    ],
)
def test_admitted(name: str, value: Any) -> None:
    check(struct_schema(name), value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_default_param_is_admitted(layout: str) -> None:
    default = from_c(LAYOUTS[layout]["RKLLMParam"](max_new_tokens=-1, n_keep=-1, top_p=0.9, repeat_penalty=1.1))
    check(struct_schema("RKLLMParam"), {**default, "model_path": "/m"})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1}]}, 1),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, None),
        ({"additionalProperties": True, "properties": {"x": {}}}, {"x": 1, "y": 2}),
        ({"items": {"type": "integer"}, "minimum": 1, "minLength": 1, "required": ["x"], "properties": {}}, [1]),
        ({"items": {}, "title": "x", "default": 1}, "x"),
    ],
)
def test_plain_values(schema: Any, value: Any) -> None:
    check(schema, value)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"properties": {"x": {"uniqueItems": True}}},
        {"items": {"format": "date"}},
        {"anyOf": [{"not": {}}]},
    ],
)
def test_keywords_that_would_not_be_checked(schema: Any) -> None:
    with pytest.raises(ValueError, match="no value is checked for"):
        prepare(schema)


def test_checks_are_built_once() -> None:
    schema = struct_schema("RKLLMInput")
    assert prepare(schema) is prepare(schema)
    assert prepare({"type": "null"}) is not prepare({"type": "null"})


# hostile values: what they cost, and that nothing of them comes back


def hostile() -> dict[str, Any]:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    return {
        "long string": "x" * (16 << 20),
        "long string inside": {"input_type": "x" * (16 << 20)},
        "million integers": {"prompt_input": [1] * 1_000_000},
        "many unknown": {f"k{index}": 1 for index in range(200_000)},
        "long name": {"x" * (16 << 20): 1},
        "deep": deep,
        "deep inside": {"prompt_input": deep, "input_type": deep},
        "big integer": {"input_type": 2**64 - 1},
    }


# Measured: below 1500 and 15 KB; jsonschema's own keywords take up to 600,000 and 38 MB.
MOST_CALLS = 3000
MOST_BYTES = 256 * 1024


def work(function: Callable[[], object]) -> tuple[int, int]:
    """Return how many calls a function makes, and how many bytes it takes: the same on a slow machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    function()  # what is made once
    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return calls, peak


@pytest.mark.parametrize("name", hostile())
def test_hostile_values_cost_nothing(name: str) -> None:
    value = hostile()[name]
    schema = struct_schema("RKLLMInput")
    prepare(schema)  # as at the daemon's start

    def refuse() -> None:
        with pytest.raises(InvalidParams) as caught:
            check(schema, value)
        assert len(str(caught.value.to_json())) < 600

    calls, peak = work(refuse)
    assert calls < MOST_CALLS
    assert peak < MOST_BYTES


def test_a_million_wrong_items_are_not_all_looked_at() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    prepare(schema)
    items = ["x"] * 1_000_000

    def refuse() -> None:
        with pytest.raises(InvalidParams):
            check(schema, items)

    calls, peak = work(refuse)
    assert calls < MOST_CALLS
    assert peak < MOST_BYTES


def test_cost_of_a_full_request() -> None:
    """Measured: 404 calls, 31 µs; jsonschema's own keywords take 975, 130 µs."""
    schemas_of_both = struct_schema("RKLLMInput"), struct_schema("RKLLMInferParam")
    for schema in schemas_of_both:
        prepare(schema)

    def accept() -> None:
        check(schemas_of_both[0], RUN_INPUT)
        check(schemas_of_both[1], RUN_PARAMS)

    calls, _ = work(accept)
    assert calls < 700


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


def near_misses(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        return any_json | st.sampled_from(schema.get("enum", [0, 1]))
    inner = {name: near_misses(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries({}, optional=inner) | any_json


CASES = [st.tuples(st.just(name), near_misses(struct_schema(name))) for name in FIELDS]


@given(st.one_of(CASES))
def test_agrees_with_jsonschema(case: tuple[str, Any]) -> None:
    """Our keywords decide as jsonschema's do, and what they admit makes a struct or an RpcError."""
    name, value = case
    schema = struct_schema(name)
    admitted = True
    try:
        check(schema, value)
    except InvalidParams:
        admitted = False
    assert Draft202012Validator(schema).is_valid(value) == admitted
    for layout in LAYOUTS.values():
        if admitted and name in layout.structs:
            try:
                to_c(value, layout[name], "$", [])
            except RpcError:
                continue


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "string"}, None),
        ({"type": ["string", "null"], "minLength": 8}, None),
        ({"type": "string", "maxLength": 8}, None),
        ({"type": "string", "maxLength": 7}, "maxLength"),
        ({"type": "string", "minLength": 9}, "minLength"),
        ({"enum": ["x"]}, "enum"),
        ({"type": ["integer", "boolean", "object", "array", "null", "number"]}, "type"),
    ],
)
def test_a_long_base64_string_is_a_string(schema: dict[str, Any], keyword: str | None) -> None:
    for value in (LongString(bytearray(6)), "AAAAAAAA"):
        if keyword is None:
            check(schema, value)
        else:
            with pytest.raises(InvalidParams) as caught:
                check(schema, value)
            assert caught.value.data["keyword"] == keyword


def test_items_are_not_looked_at_if_there_are_too_many() -> None:
    """All may be good, as zeros in reserved bytes: two million took nine seconds."""
    schema = {"type": "array", "items": {"enum": [0]}, "maxItems": 3}
    prepare(schema)
    items = [0] * 1_000_000

    def refuse() -> None:
        with pytest.raises(InvalidParams) as caught:
            check(schema, items)
        assert caught.value.data["keyword"] == "maxItems"

    calls, _ = work(refuse)
    assert calls < MOST_CALLS
