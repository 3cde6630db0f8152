"""Every C function is a method, in every parameter form, in both layouts, and each call has its effect in C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.facts import functions
from tests.rkllm.board import DEFAULTS, ONLY_1_2, ONLY_1_3, Board
from tests.wire_connection import Wire


@dataclass(frozen=True)
class Case:
    """One C function: what must be there before, the JSON arguments by C name, and the proof of the effect."""

    prove: Callable[[Board, Any], None]
    prepare: Callable[[Board], dict[str, Any]] = lambda board: {}
    loaded: dict[str, Any] | None = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    structs: tuple[str, ...] = ()


# Connections of runs that a case leaves running; one at a time, closed by its proof.
_others: list[Wire] = []


def _run_elsewhere(board: Board) -> dict[str, Any]:
    _others.append(board.connect())
    board.start_endless_run(_others[-1])
    return {}


def _end_elsewhere() -> dict[str, Any]:
    with _others.pop() as wire:
        wire.request("server.cancel", {"id": "endless"}, "stop")
        return dict(wire.final("endless")["result"])


def _prove_defaults(board: Board, result: Any) -> None:
    assert result == DEFAULTS | (ONLY_1_2 if board.layout == "1.2" else ONLY_1_3)


def _prove_init(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0, "handle": result["handle"], "message": "Loaded model.rkllm."}
    assert [model["handle"] for model in board.result("server.status")["models"]] == [result["handle"]]
    assert "top_k=7 top_p=0.9 " in board.say()


def _prove_lora(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0, "lora_adapter_name": "coder"}
    assert board.say("Hi", lora_params={"lora_adapter_name": "coder"}) == "<lora:coder>[user] Hi"


def _prove_cache_loaded(board: Board, result: Any) -> None:
    assert result["success"] is True
    run = board.result("rkllm.run", {"prompt": "Hello there"})
    assert run["perf"]["prefill_tokens"] == len("Hello there") - len("Hello ")


def _load_cache(board: Board) -> dict[str, Any]:
    board.result("rkllm.load_prompt_cache", {"prompt_cache_path": board.file("old.cache", b"Hello")})
    return {}


def _prove_cache_released(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0}
    assert board.result("rkllm.run", {"prompt": "Hello"})["perf"]["prefill_tokens"] == len("Hello")


def _prove_destroy(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0}
    assert board.error("rkllm.run", {"prompt": "Hi"})["data"]["kind"] == "ModelNotInitialized"


def _prove_run(board: Board, result: Any) -> None:
    assert result["text"] == "<think>hm</think>[system] Hello"
    assert board.kv_sizes() == [len("Hello") + result["perf"]["generate_tokens"]]


def _prove_abort(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0, "aborted": True}
    with _others.pop() as wire:
        assert wire.final("endless")["result"]["finish_reason"] == "abort"


def _prove_is_running(board: Board, result: Any) -> None:
    assert result["is_running"] is True
    _end_elsewhere()
    assert board.result("rkllm.is_running")["is_running"] is False


def _fill_kv(board: Board) -> dict[str, Any]:
    board.say("Hello")
    assert board.kv_sizes() == [9]
    return {"keep_system_prompt": 0, "start_pos": [1], "end_pos": [4]}


def _say_hello(board: Board) -> dict[str, Any]:
    _fill_kv(board)
    return {}


def _prove_template(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0}
    assert board.say("Hi") == "[system] Be brief. [user] <|Hi|>"


def _prove_tools(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0}
    assert board.say("Hi") == '<tool_call>[{"name":"clock"}]</tool_call>[system] Use tools. [user] Hi'
    assert board.say("12:00", role="tool") == "[system] Use tools. [tool] <answer>12:00</answer>"


def _prove_cross(board: Board, result: Any) -> None:
    assert result == {"success": True, "status": 0, "num_tokens": 2}
    assert board.say("Hi") == "[cross n=2 k=16 v=32 mask=2 pos=1] [user] Hi"


_RUN = {
    "rkllm_input": {"role": "system", "enable_thinking": True, "prompt_input": "Hello"},
    "rkllm_infer_params": {"mode": 0, "keep_history": 0},
}

CASES: dict[str, Case] = {
    "rkllm_createDefaultParam": Case(_prove_defaults, loaded=None),
    "rkllm_init": Case(
        _prove_init,
        lambda board: {"param": {"model_path": str(board.model), "top_k": 7}},
        loaded=None,
        script={"echo_params": 1},
        structs=("param",),
    ),
    "rkllm_load_lora": Case(
        _prove_lora,
        lambda board: {"lora_adapter": {"lora_adapter_path": board.file("x.rkllm"), "lora_adapter_name": "coder"}},
        structs=("lora_adapter",),
    ),
    "rkllm_load_prompt_cache": Case(
        _prove_cache_loaded, lambda board: {"prompt_cache_path": board.file("new.cache", b"Hello General")}
    ),
    "rkllm_release_prompt_cache": Case(_prove_cache_released, _load_cache),
    "rkllm_destroy": Case(_prove_destroy),
    "rkllm_run": Case(_prove_run, lambda board: _RUN, structs=tuple(_RUN)),
    "rkllm_run_async": Case(_prove_run, lambda board: _RUN, structs=tuple(_RUN)),
    "rkllm_abort": Case(_prove_abort, _run_elsewhere, loaded={"max_new_tokens": 0}),
    "rkllm_is_running": Case(_prove_is_running, _run_elsewhere, loaded={"max_new_tokens": 0}),
    "rkllm_clear_kv_cache": Case(
        lambda board, result: _assert_equal((result, board.kv_sizes()), ({"success": True, "status": 0}, [6])),
        _fill_kv,
        script={"text": "abcdefgh"},
    ),
    "rkllm_get_kv_cache_size": Case(
        lambda board, result: _assert_equal(result, {"success": True, "cache_sizes": [9]}),
        _say_hello,
        script={"text": "abcdefgh"},
    ),
    "rkllm_set_chat_template": Case(
        _prove_template,
        lambda board: {"system_prompt": "Be brief.", "prompt_prefix": "<|", "prompt_postfix": "|>"},
    ),
    "rkllm_set_function_tools": Case(
        _prove_tools,
        lambda board: {
            "system_prompt": "Use tools.",
            "tools": '[{"name":"clock"}]',
            "tool_response_str": "answer",
        },
    ),
    "rkllm_set_cross_attn_params": Case(
        _prove_cross,
        lambda board: {
            "cross_attn_params": {
                "encoder_k_cache": [1.0] * 16,
                "encoder_v_cache": [2.0] * 16,
                "encoder_mask": [1.0, 1.0],
                "encoder_pos": [0, 1],
            }
        },
        loaded={"extend_param": {"use_cross_attn": 1}},
        structs=("cross_attn_params",),
    ),
}


def _assert_equal(value: Any, expected: Any) -> None:
    assert value == expected


def _signatures() -> dict[str, list[str]]:
    """Return the C functions and their parameters' names, from the facts of the header."""
    found = functions("rkllm-1.3")
    return {name: [argument for argument, _ in function["args"]] for name, function in found.items()}


FORMS: dict[str, Callable[[Case, list[str], dict[str, Any], int | None], Any]] = {
    "positions in the C order": lambda case, names, given, handle: [given.get(name) for name in names],
    "positions with the handle's number": lambda case, names, given, handle: [
        handle if name == "handle" else given.get(name) for name in names
    ],
    "positions without those of C": lambda case, names, given, handle: [
        given.get(name) for name in names if name in given or (name == "handle" and handle is not None)
    ],
    "positions without the handle": lambda case, names, given, handle: [given[name] for name in names if name in given],
    "names": lambda case, names, given, handle: given,
    "names with the handle, and null for those of C": lambda case, names, given, handle: {
        **dict.fromkeys(names),
        **given,
        **({"handle": handle} if handle is not None else {}),
    },
    "fields": lambda case, names, given, handle: {
        name: value
        for parameter, argument in given.items()
        for name, value in (argument.items() if parameter in case.structs else [(parameter, argument)])
    },
    "fields and the handle": lambda case, names, given, handle: {
        **FORMS["fields"](case, names, given, handle),
        **({"handle": handle} if handle is not None else {}),
    },
}

# The daemon knows what C would say: it was asked at the start, or is the worker's own state.
ANSWERED_WITHOUT_C = ("rkllm_createDefaultParam", "rkllm_is_running")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("function", CASES)
def test_each_function_works_in_each_form_of_parameters(board: Board, function: str, form: str) -> None:
    case, names = CASES[function], _signatures()[function]
    handle = None
    if case.loaded is not None:
        handle = board.load(**case.loaded)
    board.script(**case.script)
    given = case.prepare(board)
    params = FORMS[form](case, names, given, handle)
    if form == "positions without the handle" and function == "rkllm_clear_kv_cache":
        params = [None, *params]  # an integer in front would be a handle: the protocol's one exception
    before = board.calls().count(function)

    result = board.result(f"rkllm.{function.removeprefix('rkllm_')}", params)

    board.script(**case.script)
    if function == "rkllm_run_async":  # only what was not yet sent is in the final result
        assert result["text"] == ""
        result = board.result("rkllm.run_async", params, stream="final")
    assert board.calls().count(function) > before or function in ANSWERED_WITHOUT_C, f"{function} was not called"
    case.prove(board, result)


def test_the_methods_are_exactly_the_functions_of_the_header(board: Board) -> None:
    functions = _signatures()
    assert set(CASES) == set(functions), "the table of this test has every function"
    document = board.result("rpc.discover")
    served = {
        method["name"]: method["x-c-signature"]
        for method in document["methods"]
        if method.get("x-c-signature") and not method["name"].startswith("rknn.")
    }
    assert set(served) == {f"rkllm.{name.removeprefix('rkllm_')}" for name in functions}
    for name, arguments in functions.items():
        signature = served[f"rkllm.{name.removeprefix('rkllm_')}"]
        assert signature.partition("(")[0].split()[-1] == name
        inside = signature.partition("(")[2].rstrip(")")
        named = [argument.split()[-1].lstrip("*") for argument in inside.split(",") if inside not in ("", "void")]
        assert named == arguments, f"the documented signature of {name}"


RUN_OPTIONS = [
    "seed",
    "special",
    "stop",
    "bare",
    "suffix",
    "messages",
    "tools",
    "raw",
    "format",
    "tool_choice",
    "logprobs",
]
# What C does not have stands behind what it has.
OURS = {
    "rkllm_init": ["replace", "force"],
    "rkllm_run": RUN_OPTIONS,
    "rkllm_run_async": RUN_OPTIONS,
    "rkllm_set_chat_template": ["chat_template", "add_generation_prompt"],
    "rkllm_set_function_tools": ["functions", "tool_choice"],
}


def test_get_functions_lists_the_functions_of_the_header_in_their_order_of_parameters(board: Board) -> None:
    described = board.result("rkllm.get_functions")
    functions = _signatures()
    assert set(described) == set(functions)
    document = {method["name"]: method for method in board.result("rpc.discover")["methods"]}
    for name, arguments in functions.items():
        entry = described[name]
        assert entry["method"] == f"rkllm.{name.removeprefix('rkllm_')}"
        assert entry["kind"] == document[entry["method"]]["x-kind"]
        c_only = document[entry["method"]]["x-c-only"]
        ours = OURS.get(name, [])
        assert entry["params"] == [argument for argument in arguments if argument not in c_only] + ours
        assert entry["summary"]


# The kinds are a promise (protocol, section 3): a client relies on what answers while a model loads.
KINDS = {
    "instant": {"createDefaultParam", "abort", "is_running", "get_kv_cache_size"},
    "ordered": {
        "clear_kv_cache",
        "set_chat_template",
        "set_function_tools",
        "set_cross_attn_params",
        "release_prompt_cache",
    },
    "npu": {"init", "run", "load_lora", "load_prompt_cache", "destroy"},
    "streaming": {"run_async"},
}


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_the_kinds_are_those_of_the_protocol(board: Board) -> None:
    published: dict[str, set[str]] = {}
    for entry in board.result("rkllm.get_functions").values():
        published.setdefault(entry["kind"], set()).add(entry["method"].removeprefix("rkllm."))
    assert published == KINDS
