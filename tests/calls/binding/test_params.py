"""The forms of parameters: positional, named, flat; every liberty that is taken, and every error's place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.calls.binding.params import bind
from rkllmd.calls.declaration import COnly, Kind, Method, StructParameter, Value
from rkllmd.errors import InvalidParams
from tests.calls.binding.bound import HOW, INPUT, METHODS, bound, place, refused

# Positional


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("rkllm.run", [INPUT], {"rkllm_input": (INPUT, "$[0]")}),
        ("rkllm.run", [INPUT, HOW], {"rkllm_input": (INPUT, "$[0]"), "rkllm_infer_params": (HOW, "$[1]")}),
        ("rkllm.run", [None, INPUT], {"rkllm_input": (INPUT, "$[1]")}),
        ("rkllm.run", [7, INPUT], {"handle": (7, "$[0]"), "rkllm_input": (INPUT, "$[1]")}),
        (
            "rkllm.run",
            [7, INPUT, HOW, None],
            {"handle": (7, "$[0]"), "rkllm_input": (INPUT, "$[1]"), "rkllm_infer_params": (HOW, "$[2]")},
        ),
        ("rkllm.run", [None, INPUT, None, None], {"rkllm_input": (INPUT, "$[1]")}),
        ("rkllm.run", [[INPUT, INPUT]], {"rkllm_input": ([INPUT, INPUT], "$[0]")}),
        ("rkllm.destroy", [], {}),
        ("rkllm.destroy", [None], {}),
        ("rkllm.destroy", [3], {"handle": (3, "$[0]")}),
        ("rkllm.get_kv_cache_size", [3, None], {"handle": (3, "$[0]")}),
        ("rkllm.init", [{"model_path": "/m"}], {"param": ({"model_path": "/m"}, "$[0]")}),
        ("rkllm.init", [None, {"model_path": "/m"}], {"param": ({"model_path": "/m"}, "$[1]")}),
        ("rkllm.init", [None, {"model_path": "/m"}, None], {"param": ({"model_path": "/m"}, "$[1]")}),
        ("rkllm.init", [{"model_path": "/m"}, None], {"param": ({"model_path": "/m"}, "$[0]")}),
        ("rkllm.load_prompt_cache", ["/cache"], {"prompt_cache_path": ("/cache", "$[0]")}),
        ("rkllm.load_prompt_cache", [1, "/cache"], {"handle": (1, "$[0]"), "prompt_cache_path": ("/cache", "$[1]")}),
        (
            "rkllm.clear_kv_cache",
            [None, 1, [0, 50], [100, 150]],
            {"keep_system_prompt": (1, "$[1]"), "start_pos": ([0, 50], "$[2]"), "end_pos": ([100, 150], "$[3]")},
        ),
        # Neither null nor an integer, so not the handle; a boolean is no integer in JSON.
        ("rkllm.clear_kv_cache", [True], {"keep_system_prompt": (True, "$[0]")}),
        ("rkllm.clear_kv_cache", [1], {"handle": (1, "$[0]")}),
        (
            "rkllm.set_chat_template",
            [None, "a", None, "c"],
            {"system_prompt": ("a", "$[1]"), "prompt_postfix": ("c", "$[3]")},
        ),
        ("rkllm.set_chat_template", ["a"], {"system_prompt": ("a", "$[0]")}),
        ("server.cancel", [5], {"id": (5, "$[0]")}),
        ("server.cancel", ["x"], {"id": ("x", "$[0]")}),
    ],
)
def test_positional(name: str, params: list[Any], expected: dict[str, Any]) -> None:
    assert bound(name, params) == expected


@pytest.mark.parametrize(
    ("name", "params", "path", "keyword"),
    [
        ("rkllm.run", [None], "$.rkllm_input", "required"),
        ("rkllm.run", [7], "$.rkllm_input", "required"),
        ("rkllm.run", [7, None], "$[1]", "type"),
        ("rkllm.run", [1.5, INPUT], "$[0]", "type"),
        ("rkllm.run", [True, INPUT], "$[0]", "type"),
        ("rkllm.run", [-1, INPUT], "$[0]", "minimum"),
        ("rkllm.run", [None, INPUT, 5], "$[2]", "type"),
        ("rkllm.run", [None, INPUT, HOW, "userdata"], "$[3]", "maxItems"),
        ("rkllm.run", [None, INPUT, HOW, None, None], "$[4]", "maxItems"),
        ("rkllm.run", [{"prompt_input": 5}], "$[0].prompt_input", "type"),
        ("rkllm.run", [None, {"prompt_input": 5}], "$[1].prompt_input", "type"),
        ("rkllm.run", [None, [INPUT, {"role": 5}]], "$[1][1].role", "type"),
        ("rkllm.run", [[]], "$[0]", "minItems"),
        ("rkllm.init", [None], "$[0]", "type"),
        ("rkllm.init", [{}], "$[0]", "required"),
        ("rkllm.init", [7, {"model_path": "/m"}], "$[1]", "maxItems"),
        ("rkllm.init", [{"model_path": "/m"}, "callback"], "$[1]", "maxItems"),
        ("rkllm.get_constants", [1], "$[0]", "maxItems"),
        ("rkllm.createDefaultParam", [None], "$[0]", "maxItems"),
        ("$/cancelRequest", [None], "$[0]", "type"),
        ("$/cancelRequest", [], "$.id", "required"),
        ("server.cancel", [True], "$[0]", "type"),
        ("rkllm.load_prompt_cache", [None, ""], "$[1]", "minLength"),
    ],
)
def test_positional_errors_name_the_position(name: str, params: list[Any], path: str, keyword: str) -> None:
    assert place(refused(name, params)) == (path, keyword)


def test_a_null_stands_for_a_position_of_c_only_where_values_are_to_spare() -> None:
    given, last = Value("given", {"type": ["integer", "null"]}), Value("last", {}, required=False)
    out = Method(Kind.INSTANT, (COnly("out"), given, COnly("size"), last), name="x.y", call=lambda: None)
    values = {key: item.value for key, item in bind(out, [None, 1, None, 2]).items()}
    assert values == {"given": 1, "last": 2}
    assert {key: item.value for key, item in bind(out, [1, None, 2]).items()} == {"given": 1, "last": 2}
    assert {key: item.path for key, item in bind(out, [1, 2]).items()} == {"given": "$[0]", "last": "$[1]"}
    assert {key: item.value for key, item in bind(out, [None]).items()} == {"given": None}


def test_too_many_values_for_a_method_without_parameters() -> None:
    assert "takes no parameters" in str(refused("rkllm.get_constants", [1]))
    assert "takes handle, rkllm_input, rkllm_infer_params" in str(refused("rkllm.run", [1, INPUT, HOW, None, 5]))


# Named and flat


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("rkllm.run", {"rkllm_input": INPUT}, {"rkllm_input": (INPUT, "$.rkllm_input")}),
        (
            "rkllm.run",
            {"handle": 1, "rkllm_input": INPUT, "rkllm_infer_params": HOW, "userdata": None},
            {
                "handle": (1, "$.handle"),
                "rkllm_input": (INPUT, "$.rkllm_input"),
                "rkllm_infer_params": (HOW, "$.rkllm_infer_params"),
            },
        ),
        ("rkllm.run", {"handle": None, "prompt": "Hi"}, {"rkllm_input": ({"prompt": "Hi"}, "$")}),
        (
            "rkllm.run",
            {"prompt_input": "Hello", "keep_history": 1},
            {"rkllm_input": (INPUT, "$"), "rkllm_infer_params": (HOW, "$")},
        ),
        (
            "rkllm.run",
            {"rkllm_input": INPUT, "keep_history": 1},
            {"rkllm_input": (INPUT, "$.rkllm_input"), "rkllm_infer_params": (HOW, "$")},
        ),
        (
            "rkllm.run",
            {"role": "user", "rkllm_input": INPUT},
            {"rkllm_input": ({**INPUT, "role": "user"}, "$.rkllm_input")},
        ),
        ("rkllm.run", {"rkllm_input": None, "prompt": "Hi"}, {"rkllm_input": ({"prompt": "Hi"}, "$")}),
        ("rkllm.run", {"rkllm_infer_params": None, "prompt": "Hi"}, {"rkllm_input": ({"prompt": "Hi"}, "$")}),
        ("rkllm.init", {"model_path": "/m", "top_k": 1}, {"param": ({"model_path": "/m", "top_k": 1}, "$")}),
        (
            "rkllm.init",
            {"model_path": "/m", "param": {"max_context_len": 4096}},
            {"param": ({"max_context_len": 4096, "model_path": "/m"}, "$.param")},
        ),
        ("rkllm.init", {"handle": None, "model_path": "/m", "callback": None}, {"param": ({"model_path": "/m"}, "$")}),
        (
            "rkllm.load_lora",
            {"lora_adapter_path": "/a", "handle": 2},
            {"handle": (2, "$.handle"), "lora_adapter": ({"lora_adapter_path": "/a"}, "$")},
        ),
        (
            "rkllm.set_chat_template",
            {"system_prompt": "a", "prompt_prefix": None},
            {"system_prompt": ("a", "$.system_prompt")},
        ),
        ("rkllm.destroy", {}, {}),
        ("server.cancel", {"id": 5}, {"id": (5, "$.id")}),
    ],
)
def test_named_and_flat(name: str, params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bound(name, params) == expected


@pytest.mark.parametrize(
    ("name", "params", "path", "keyword"),
    [
        ("rkllm.run", {}, "$.rkllm_input", "required"),
        ("rkllm.run", {"keep_history": 1}, "$.rkllm_input", "required"),
        ("rkllm.run", {"rkllm_input": None}, "$.rkllm_input", "type"),
        ("rkllm.run", {"prompt": "x", "userdata": 5}, "$.userdata", "const"),
        ("rkllm.run", {"prompt": "x", "temperatur": 1}, "$.temperatur", "additionalProperties"),
        ("rkllm.run", {"prompt": 5}, "$.prompt", "type"),
        ("rkllm.run", {"rkllm_input": {"prompt": 5}}, "$.rkllm_input.prompt", "type"),
        ("rkllm.run", {"rkllm_input": [INPUT, {"rol": "x"}]}, "$.rkllm_input[1]", "additionalProperties"),
        ("rkllm.run", {"rkllm_input": []}, "$.rkllm_input", "minItems"),
        ("rkllm.run", {"rkllm_input": [{"prompt": ""}] * 256}, "$.rkllm_input", "maxItems"),
        ("rkllm.run", {"handle": "1", "prompt": "x"}, "$.handle", "type"),
        ("rkllm.run", {"prompt": "x", "mode": "FAST"}, "$.mode", "enum"),
        ("rkllm.run", {"rkllm_input": INPUT, "prompt_input": "again"}, "$.prompt_input", "uniqueItems"),
        ("rkllm.run", {"rkllm_input": [INPUT], "role": "user"}, "$.role", "type"),
        ("rkllm.run", {"rkllm_input": "Hello", "role": "user"}, "$.role", "type"),
        ("rkllm.init", {"top_k": 1}, "$", "required"),
        ("rkllm.init", {"param": {"top_k": 1}}, "$.param", "required"),
        ("rkllm.init", {"model_path": "/m", "callback": {}}, "$.callback", "const"),
        ("rkllm.init", {"model_path": "/m", "handle": 1}, "$.handle", "const"),
        ("rkllm.init", {"param": {"model_path": "/m"}, "model_path": "/m"}, "$.model_path", "uniqueItems"),
        ("rkllm.load_lora", {"scale": 1.0}, "$", "required"),
        ("rkllm.destroy", {"x": 1}, "$.x", "additionalProperties"),
        ("$/cancelRequest", {"id": None}, "$.id", "type"),
        ("$/cancelRequest", {}, "$.id", "required"),
        ("rpc.discover", {"x": 1}, "$.x", "additionalProperties"),
    ],
)
def test_named_and_flat_errors_name_the_member(name: str, params: dict[str, Any], path: str, keyword: str) -> None:
    assert place(refused(name, params)) == (path, keyword)


def test_an_error_in_a_merged_field_names_its_place_in_what_was_sent() -> None:
    """``param`` around some of init's fields and others beside it: each is found where the client has put it."""
    inside = refused("rkllm.init", {"model_path": "/m", "param": {"top_k": "x"}})
    beside = refused("rkllm.init", {"model_path": "/m", "top_k": "x", "param": {"max_context_len": 1}})
    assert place(inside) == ("$.param.top_k", "type")
    assert place(beside) == ("$.top_k", "type")
    assert str(beside).startswith("$.top_k ")


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("rkllm.run", "promt", "prompt"),
        ("rkllm.run", "keep_histroy", "keep_history"),
        ("rkllm.run", "rkllm_inputs", "rkllm_input"),
        ("rkllm.init", "modelpath", "model_path"),
        ("rkllm.set_chat_template", "promptprefix", "prompt_prefix"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_known_one(name: str, given: str, meant: str) -> None:
    assert str(refused(name, {given: 1})) == f"{name} has no parameter {given!r}. Did you mean {meant}?"


def test_an_unknown_name_that_is_like_none_comes_without_a_guess() -> None:
    said = "rkllm.run has no parameter 'xyzzy'. rpc.discover shows what it takes."
    assert str(refused("rkllm.run", {"xyzzy": 1})) == said


@pytest.mark.parametrize(
    ("name", "given", "struct"),
    [
        ("rkllm.run", "temperature", "sampling_params"),
        ("rkllm.run_async", "lora_adapter_name", "lora_params"),
        ("rkllm.init", "base_domain_id", "extend_param"),
    ],
)
def test_a_field_of_a_struct_inside_comes_with_its_place(name: str, given: str, struct: str) -> None:
    said = f'{name} has no parameter {given!r}. It is a member of {struct}: {{"{struct}": {{"{given}": …}}}}.'
    assert str(refused(name, {given: 1})) == said


def test_where_there_are_few_names_an_unknown_one_comes_with_all() -> None:
    assert str(refused("rkllm.destroy", {"model": 1})) == "rkllm.destroy has no parameter 'model'. It takes handle."
    assert str(refused("rkllm.get_constants", {"x": 1})) == "rkllm.get_constants has no parameter 'x'. It takes none."


def test_what_is_needed_comes_with_a_field_that_most_people_give() -> None:
    assert str(refused("rkllm.init", {})) == "rkllm.init needs param, or its fields directly, such as model_path."


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"messages": [], "prompt": "x"}, "messages stands in the place of prompt: leave one of them out."),
        ({"messages": [], "prompt_input": ""}, "messages stands in the place of prompt_input: leave one of them out."),
        ({"messages": [{"role": "user", "content": 1}]}, "(a text, or parts, each an object with its type, such as "),
        ({"prompt": "x", "format": True}, '("json" for any JSON object, or a JSON Schema as an object).'),
        ({"prompt": "x", "tool_choice": "any"}, '("auto", "none", "required" (a call of one of the tools), or '),
    ],
)
def test_what_stands_for_a_prompt_and_forms_it_may_have_are_said(params: dict[str, Any], said: str) -> None:
    assert said in str(refused("rkllm.run", params))


def test_a_long_unknown_name_is_not_repeated_whole() -> None:
    error = refused("rkllm.run", {"x" * 10**6: 1})
    assert len(str(error)) < 200
    assert len(error.data["path"]) < 100


# All methods

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**64) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def members(method: Method) -> st.SearchStrategy[dict[str, Any]]:
    known = [item.name for item in method.parameters]
    for item in method.parameters:
        if isinstance(item, StructParameter):
            known += sorted(item.field_names)
    if method.group:
        known.append(method.group)
    names = st.sampled_from(known) | st.text(max_size=6) if known else st.text(max_size=6)
    inner = st.dictionaries(names, JSON, max_size=4)
    return st.dictionaries(names, JSON | inner, max_size=5)


CALLS = st.sampled_from(sorted(METHODS)).flatmap(
    lambda name: st.tuples(st.just(name), members(METHODS[name]) | st.lists(JSON | members(METHODS[name]), max_size=5))
)


@settings(max_examples=60, deadline=None)
@given(CALLS)
def test_anything_is_bound_or_refused_as_invalid_params(call: tuple[str, Any]) -> None:
    name, params = call
    method = METHODS[name]
    refusal = None
    given: dict[str, Any] = {}
    try:
        given = bind(method, params)
    except InvalidParams as error:
        refusal = error
    if refusal is not None:
        assert 0 < len(refusal.message) < 2000
        assert {"path", "keyword"} <= refusal.data.keys()
    else:
        assert given.keys() <= {item.name for item in method.json_parameters}
        assert given.keys() >= {item.name for item in method.json_parameters if item.required}


@settings(deadline=None)
@given(st.sampled_from(sorted(METHODS)), st.lists(st.none(), max_size=6))
def test_nulls_never_become_values(name: str, params: list[None]) -> None:
    try:
        given = bind(METHODS[name], params)
    except InvalidParams:
        return
    assert given == {}
