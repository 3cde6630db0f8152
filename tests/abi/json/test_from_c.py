"""C to JSON, and there and back."""

from __future__ import annotations

import ctypes
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout, RKLLMPerfStat


def test_from_c(layout: Layout) -> None:
    param = layout["RKLLMParam"](top_p=0.8, temperature=float("nan"), max_context_len=4096)
    param.extend_param.enabled_cpus_mask = 0xF0
    value = from_c(param)
    assert (value["model_path"], value["top_p"], value["temperature"], value["is_async"]) == (None, 0.8, None, False)
    assert value.keys() == fields_of(layout["RKLLMParam"]).keys()
    assert value["extend_param"].keys() == fields_of(layout["RKLLMExtendParam"]).keys() - {"reserved"}
    assert from_c(RKLLMPerfStat(199.1, 12, 61.0, 2, 791.0)) == {
        "prefill_time_ms": 199.1,
        "prefill_tokens": 12,
        "generate_time_ms": 61.0,
        "generate_tokens": 2,
        "memory_usage_mb": 791.0,
    }
    assert from_c(layout["RKLLMInferParam"](mode=1)).keys() >= {"mode", "keep_history"}
    assert from_c(layout["RKLLMLoraParam"](lora_adapter_name=b"\xff"))["lora_adapter_name"] == "\ufffd"


int32s = st.integers(-(2**31), 2**31 - 1)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9)


def values_of(field_type: Any) -> st.SearchStrategy[Any]:
    """Return JSON values that fit a C type exactly."""
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        ctypes.c_char_p: names,
        ctypes.c_float: float32s,
        ctypes.c_bool: st.booleans(),
        ctypes.c_int32: int32s,
        ctypes.c_uint32: st.integers(0, 2**32 - 1),
        ctypes.c_int8: st.integers(-128, 127),
        ctypes.c_uint8: st.integers(0, 255),
    }
    if field_type in by_type:
        return by_type[field_type]
    fields = {name: values_of(item) for name, item in fields_of(field_type).items() if name != "reserved"}
    return st.fixed_dictionaries(fields)


def as_floats(value: Any) -> Any:
    """Return ``value`` with each number as C's float has it: from_c answers the shortest one that means the same."""
    if isinstance(value, dict):
        return {name: as_floats(item) for name, item in value.items()}
    return ctypes.c_float(value).value if isinstance(value, float) else value


@given(st.data(), st.sampled_from(["1.2", "1.3"]), st.sampled_from(["RKLLMParam", "RKLLMPromptCacheParam"]))
def test_round_trip(data: st.DataObject, layout_name: str, name: str) -> None:
    struct_type = LAYOUTS[layout_name][name]
    value = data.draw(values_of(struct_type))
    keep: list[Any] = []
    made = to_c(value, struct_type, "$", keep)
    assert as_floats(from_c(made)) == value
    assert from_c(to_c(from_c(made), struct_type, "$", keep)) == from_c(made)
