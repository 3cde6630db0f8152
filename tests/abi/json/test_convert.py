"""JSON to C by struct type, in all layouts."""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.abi.json.convert import to_c, to_c_array
from rkllmd.abi.json.forms import ALIASES, EXTRAS
from rkllmd.abi.json.from_c import sampling_from
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout, Struct
from rkllmd.errors import InvalidParams, RpcError
from tests.abi.json.structs import EMBED, JPEG, LAYOUT_1_2, LAYOUT_1_3, convert, refused

# For the long run: RKLLMD_STRUCTS=100000.
STRUCTS = int(os.environ.get("RKLLMD_STRUCTS", "30"))

# inputs


def test_prompt(layout: Layout) -> None:
    keep: list[Any] = []
    made = to_c({"role": "user", "enable_thinking": True, "prompt_input": "Grüße"}, layout["RKLLMInput"], "$", keep)
    gc.collect()
    assert (made.role, made.enable_thinking, made.input_type) == (b"user", True, 0)
    assert made.prompt_input.decode() == "Grüße"
    assert {b"user", "Grüße".encode()} == {item for item in keep if isinstance(item, bytes)}


@pytest.mark.parametrize(
    ("value", "input_type"),
    [
        ({"prompt": "x"}, 0),
        ({"prompt_input": "x", "input_type": 0, "token_input": None}, 0),
        ({"prompt_input": "x", "input_type": "RKLLM_INPUT_PROMPT"}, 0),
        ({"prompt_input": "x", "input_type": None, "role": None}, 0),
        ({"token_input": {"input_ids": [1]}, "input_type": 1.0}, 1),
        ({"embed_input": {"embed": [[1]]}}, 2),
        ({"multimodal": JPEG, "input_type": 3}, 3),
    ],
)
def test_input_type(layout: Layout, value: Any, input_type: int) -> None:
    assert convert(value, layout, "RKLLMInput").input_type == input_type


@pytest.mark.parametrize(
    ("value", "path", "keyword"),
    [
        ({}, "$", "required"),
        ({"input_type": 0}, "$", "required"),
        ({"prompt_input": None}, "$", "required"),
        ({"prompt_input": "x", "token_input": {"input_ids": [1]}}, "$", "oneOf"),
        ({"prompt_input": "x", "prompt": "y"}, "$", "oneOf"),
        ({"prompt_input": "x", "input_type": 1}, "$.input_type", "const"),
        ({"prompt_input": "x", "input_type": "RKLLM_INPUT_EMBED"}, "$.input_type", "const"),
        ({"prompt_input": "x", "input_type": 4}, "$.input_type", "enum"),
        ({"prompt_input": "x", "input_type": "prompt"}, "$.input_type", "enum"),
        ({"prompt_input": "x", "input_type": False}, "$.input_type", "enum"),
        ({"prompt_input": "x", "input_type": []}, "$.input_type", "enum"),
        ({"prompt_input": 7}, "$.prompt_input", "type"),
        ({"prompt_input": "x\0y"}, "$.prompt_input", "pattern"),
        ({"prompt_input": "\ud800"}, "$.prompt_input", "format"),
        ({"prompt_input": "x", "enable_thinking": 2}, "$.enable_thinking", "type"),
        ({"prompt_input": "x", "enable_thinking": None}, "$.enable_thinking", "type"),
        ({"prompt_input": "x", "rolle": "user"}, "$", "additionalProperties"),
        ("x", "$", "type"),
        ({"token_input": [1, 2]}, "$.token_input", "type"),
        ({"token_input": {}}, "$.token_input", "required"),
        ({"token_input": {"input_ids": None}}, "$.token_input", "required"),
        ({"token_input": {"input_ids": []}}, "$.token_input.input_ids", "minItems"),
        ({"token_input": {"input_ids": [1, 2], "n_tokens": 3}}, "$.token_input.n_tokens", "const"),
        ({"token_input": {"input_ids": [1, 2], "n_tokens": -1}}, "$.token_input.n_tokens", "minimum"),
        ({"token_input": {"input_ids": [1, 2], "n_tokens": 2**64}}, "$.token_input.n_tokens", "maximum"),
        ({"token_input": {"input_ids": ["x"]}}, "$.token_input.input_ids[0]", "type"),
        ({"embed_input": {"embed": [1, 2]}}, "$.embed_input", "required"),
        ({"embed_input": {"embed": [1, 2, 3], "n_tokens": 2}}, "$.embed_input", "shape"),
        ({"embed_input": {"embed": [1, 2, 3], "n_tokens": 0}}, "$.embed_input", "shape"),
        ({"embed_input": {"embed": [[1, 2], [3, 4]], "n_tokens": 4}}, "$.embed_input", "shape"),
    ],
)
def test_wrong_input(layout: Layout, value: Any, path: str, keyword: str) -> None:
    refused(value, layout, "RKLLMInput", path, keyword)


def test_what_stands_there_twice_is_said_as_the_client_has_written_it(layout: Layout) -> None:
    twice = {"prompt_input": "x", "prompt": "y"}
    with pytest.raises(InvalidParams, match="The parameters have prompt_input twice, as prompt_input and as prompt: "):
        to_c(twice, layout["RKLLMInput"], "$", [])


def test_batch(layout: Layout) -> None:
    keep: list[Any] = []
    values = [{"prompt": "one"}, {"token_input": {"input_ids": [2]}}, {"prompt": "three"}]
    made = to_c_array(values, layout["RKLLMInput"], "$.rkllm_input", keep)
    gc.collect()
    assert ctypes.sizeof(made) == 3 * ctypes.sizeof(layout["RKLLMInput"])
    assert (made[0].prompt_input, made[1].token_input.input_ids[0], made[2].prompt_input) == (b"one", 2, b"three")
    assert any(item is made for item in keep)
    with pytest.raises(InvalidParams) as caught:
        to_c_array([*values, {}], layout["RKLLMInput"], "$.rkllm_input", keep)
    assert caught.value.data["path"] == "$.rkllm_input[3]"
    empty: list[Any] = [[], {}, None, "x"]
    for value in empty:
        with pytest.raises(InvalidParams):
            to_c_array(value, layout["RKLLMInput"], "$", keep)


def test_zeros_behind_an_input(layout: Layout) -> None:
    """A newer runtime may read a longer struct: it finds zeros."""
    made = convert({"prompt": "x"}, layout, "RKLLMInput")
    behind = ctypes.string_at(ctypes.addressof(made) + ctypes.sizeof(made), 256)
    assert behind == bytes(256)


# parameters of a run


def test_infer_param(layout: Layout) -> None:
    value = {
        "mode": "RKLLM_INFER_GET_LOGITS",
        "lora_params": {"lora_adapter_name": "coding"},
        "prompt_cache_params": {"save_prompt_cache": True, "prompt_cache_path": "/tmp/cache"},
        "keep_history": 1,
    }
    made = convert(value, layout, "RKLLMInferParam")
    assert (made.mode, made.keep_history) == (2, 1)
    assert made.lora_params.contents.lora_adapter_name == b"coding"
    assert made.prompt_cache_params.contents.save_prompt_cache == 1
    assert made.prompt_cache_params.contents.prompt_cache_path == b"/tmp/cache"
    made = convert({"mode": 0, "lora_params": None, "keep_history": False}, layout, "RKLLMInferParam")
    assert not made.lora_params
    assert not made.prompt_cache_params


@pytest.mark.parametrize(
    ("value", "path", "keyword"),
    [
        ({"mode": 3}, "$.mode", "enum"),
        ({"mode": True}, "$.mode", "enum"),
        ({"mode": None}, "$.mode", "enum"),
        ({"mode": "RKLLM_INFER_" + "X" * 99}, "$.mode", "enum"),
        ({"keep_history": "yes"}, "$.keep_history", "type"),
        ({"keep_history": 1.5}, "$.keep_history", "type"),
        ({"keep_history": 2**31}, "$.keep_history", "maximum"),
        ({"lora_params": {}}, "$.lora_params", "required"),
        ({"lora_params": 1}, "$.lora_params", "type"),
        ({"prompt_cache_params": {"save_prompt_cache": 1}}, "$.prompt_cache_params", "required"),
    ],
)
def test_wrong_infer_param(layout: Layout, value: Any, path: str, keyword: str) -> None:
    refused(value, layout, "RKLLMInferParam", path, keyword)


def test_sampling_of_a_run() -> None:
    loaded = LAYOUT_1_3["RKLLMParam"](top_k=40, top_p=0.5, temperature=0.25, repeat_penalty=1.5, mirostat_tau=5)
    defaults = {"RKLLMSamplingParam": sampling_from(loaded, LAYOUT_1_3["RKLLMSamplingParam"])}
    value = {"sampling_params": {"top_k": 1, "temperature": 2}, "max_new_tokens": 9}
    made = convert(value, LAYOUT_1_3, "RKLLMInferParam", defaults=defaults)
    sampling = made.sampling_params.contents
    assert made.max_new_tokens == 9
    assert (sampling.top_k, sampling.top_p, sampling.temperature) == (1, 0.5, 2)
    assert (sampling.repeat_penalty, sampling.mirostat_tau) == (1.5, 5)
    assert defaults["RKLLMSamplingParam"].top_k == 40  # the default itself stays


# parameters of init


def test_param_starts_from_the_defaults(layout: Layout) -> None:
    param_type = layout["RKLLMParam"]
    default = param_type(model_path=None, top_k=40, top_p=0.75, skip_special_token=True)
    default.extend_param.n_batch = 1
    if layout is LAYOUT_1_2:
        default.img_start = b"<img>"
    value = {"model_path": "/m.rkllm", "temperature": 0.25, "extend_param": {"base_domain_id": 1, "embed_flash": True}}
    keep: list[Any] = []
    made = to_c(value, param_type, "$", keep, defaults={"RKLLMParam": default})
    del default
    gc.collect()
    assert (made.model_path, made.top_k, made.top_p, made.temperature) == (b"/m.rkllm", 40, 0.75, 0.25)
    extend = made.extend_param
    assert (extend.n_batch, extend.base_domain_id, extend.embed_flash) == (1, 1, 1)
    assert made.skip_special_token is True
    if layout is LAYOUT_1_2:
        assert made.img_start == b"<img>"


@pytest.mark.parametrize(
    ("value", "path", "keyword"),
    [
        ({}, "$", "required"),
        ({"model_path": None}, "$", "required"),
        ({"model_path": "/m", "top_k": "40"}, "$.top_k", "type"),
        ({"model_path": "/m", "top_k": True}, "$.top_k", "type"),
        ({"model_path": "/m", "top_k": -(2**31) - 1}, "$.top_k", "minimum"),
        ({"model_path": "/m", "top_p": "x"}, "$.top_p", "type"),
        ({"model_path": "/m", "top_p": True}, "$.top_p", "type"),
        ({"model_path": "/m", "top_p": 1e39}, "$.top_p", "maximum"),
        ({"model_path": "/m", "top_p": 10**400}, "$.top_p", "maximum"),
        ({"model_path": "/m", "top_p": float("nan")}, "$.top_p", "maximum"),
        ({"model_path": "/m", "top_k": float("inf")}, "$.top_k", "type"),
        ({"model_path": "/m", "extend_param": {"n_batch": 256}}, "$.extend_param.n_batch", "maximum"),
        ({"model_path": "/m", "extend_param": {"n_batch": -1}}, "$.extend_param.n_batch", "minimum"),
        ({"model_path": "/m", "extend_param": {"reserved": [1]}}, "$.extend_param.reserved", "readOnly"),
        ({"model_path": "/m", "extend_param": []}, "$.extend_param", "type"),
        ({"model_path": "/m", "img": "x"}, "$", "additionalProperties"),
    ],
)
def test_wrong_param(layout: Layout, value: Any, path: str, keyword: str) -> None:
    refused(value, layout, "RKLLMParam", path, keyword)


def test_callbacks_are_no_clients_business() -> None:
    for field in fields_of(LAYOUT_1_3["RKLLMCallback"]):
        refused({field: 1}, LAYOUT_1_3, "RKLLMCallback", f"$.{field}", "readOnly")


def test_structs_without_a_layout() -> None:
    """A struct that is no RKLLM struct is converted by its fields alone."""

    class Other(Struct):
        """A struct of some other library."""

        _fields_ = (("top_k", ctypes.c_int32), ("more", ctypes.c_int64))

    assert to_c({"more": -5}, Other, "$", []).more == -5
    with pytest.raises(InvalidParams):
        to_c({"mode": 1}, Other, "$", [])


# cross-attention and LoRA


def test_lora(layout: Layout) -> None:
    made = convert({"lora_adapter_path": "/l.rkllm", "scale": 1}, layout, "RKLLMLoraAdapter")
    assert (made.lora_adapter_path, made.lora_adapter_name, made.scale) == (b"/l.rkllm", None, 1)
    refused({"scale": 1}, layout, "RKLLMLoraAdapter", "$", "required")


def test_a_name_is_not_as_long_as_a_request(layout: Layout) -> None:
    path = {"lora_adapter_path": "/l.rkllm"}
    longest = "ü" * 127 + "x"
    made = convert({**path, "lora_adapter_name": longest}, layout, "RKLLMLoraAdapter")
    assert made.lora_adapter_name == longest.encode()
    too_long = {**path, "lora_adapter_name": longest + "x"}
    error = refused(too_long, layout, "RKLLMLoraAdapter", "$.lora_adapter_name", "maxLength")
    assert error.data["limit"] == 255
    assert longest not in error.message


# fuzz

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
any_json = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
tensor_values = (
    st.lists(st.integers(-5, 5), max_size=6)
    | st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=3)
    | st.just(EMBED)
    | st.fixed_dictionaries({"data": st.just(EMBED), "shape": st.sampled_from([[4], [2, 2], [1, 2, 2], [4, 1]])})
)


def near_misses(struct_type: Any) -> st.SearchStrategy[Any]:
    """Return objects that have the struct's fields, with right and wrong values, and some that it does not have."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field_type in fields_of(struct_type).items():
        inner = getattr(field_type, "_type_", None)
        if isinstance(inner, type) and issubclass(inner, ctypes.Structure):
            fields[name] = near_misses(inner) | any_json
        elif issubclass(field_type, ctypes.Structure):
            fields[name] = near_misses(field_type) | any_json
        else:
            fields[name] = tensor_values | st.integers(0, 4) | st.booleans() | st.text(max_size=4) | any_json
    for name in [*ALIASES.get(struct_type.__name__, ()), *EXTRAS.get(struct_type.__name__, ()), "image", "img_end"]:
        fields.setdefault(name, tensor_values | any_json)
    made = st.fixed_dictionaries({}, optional=fields)
    return st.deferred(lambda: made)  # it is shown as this: whole, Hypothesis finds it too long


FUZZED = [
    st.tuples(st.just(layout[name]), near_misses(layout[name]))
    for layout in LAYOUTS.values()
    for name in ("RKLLMInput", "RKLLMInferParam", "RKLLMParam", "RKLLMMultiModalInput", "RKLLMCrossAttnParam")
]


# The first examples build the strategies, which takes longer than Hypothesis has patience for where nothing is cached,
# and what it would say of that is longer than it likes.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=STRUCTS)
@given(st.one_of(FUZZED))
def test_only_errors_of_ours(case: tuple[Any, Any]) -> None:
    struct_type, value = case
    error = None
    try:
        to_c(value, struct_type, "$", [])
    except RpcError as raised:
        error = raised
    if error is not None:
        assert len(str(error.to_json())) < 1500
        assert error.data["path"].startswith("$")


@given(any_json, st.sampled_from([*LAYOUTS]), st.data())
def test_only_errors_of_ours_for_anything(value: Any, layout_name: str, data: st.DataObject) -> None:
    struct_type = data.draw(st.sampled_from(list(LAYOUTS[layout_name].structs.values())))
    try:
        to_c(value, struct_type, "$", [])
    except RpcError:
        return
