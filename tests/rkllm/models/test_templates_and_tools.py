"""rkllm.set_chat_template, set_function_tools and set_cross_attn_params."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.rkllm.board import Board

OK = {"success": True, "status": 0}
TEMPLATE = {"system_prompt": "Sei höflich.", "prompt_prefix": "<|", "prompt_postfix": "|>"}


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (TEMPLATE, "[system] Sei höflich. [user] <|Hi|>"),
        ({"template_config": TEMPLATE}, "[system] Sei höflich. [user] <|Hi|>"),
        ([TEMPLATE], "[system] Sei höflich. [user] <|Hi|>"),
        ([None, TEMPLATE], "[system] Sei höflich. [user] <|Hi|>"),
        ([None, "S", "<", ">"], "[system] S [user] <Hi>"),
        (["S", "<", ">"], "[system] S [user] <Hi>"),
        ([None, None, "<", ">"], "[user] <Hi>"),
        (["S"], "[system] S [user] Hi"),
        ({"prompt_postfix": "!"}, "[user] Hi!"),
        ({"system_prompt": None, "prompt_prefix": None, "prompt_postfix": None}, "[user] Hi"),
        (None, "[user] Hi"),
        ([], "[user] Hi"),
    ],
)
def test_the_template_reaches_the_runtime(board: Board, params: Any, text: str) -> None:
    board.load()
    board.result("rkllm.set_chat_template", ["old", "old", "old"])
    assert board.result("rkllm.set_chat_template", params) == OK
    assert board.say() == text
    assert board.say(enable_thinking=True) == text, "thinking is up to the prompt then"


def test_the_wrapped_form_by_handle(board: Board) -> None:
    handle = board.load()
    assert board.result("rkllm.set_chat_template", [handle, TEMPLATE]) == OK
    assert board.say() == "[system] Sei höflich. [user] <|Hi|>"
    assert board.result("rkllm.set_chat_template", {"handle": handle, "template_config": {"prompt_prefix": "#"}}) == OK
    assert board.say() == "[user] #Hi"
    assert board.refused("rkllm.set_chat_template", [handle + 1, TEMPLATE])["kind"] == "InvalidHandle"


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        ({"system_prompt": 1}, "$.system_prompt", "type"),
        ({"prompt_prefix": "a\0b"}, "$.prompt_prefix", "pattern"),
        ({"template": "x"}, "$.template", "additionalProperties"),
        ([None, "a", "b", "c", "d"], "$[4]", "maxItems"),
        ([None, "a", ["b"]], "$[2]", "type"),
    ],
)
def test_wrong_templates(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.set_chat_template", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]


def test_wrong_templates_are_refused_at_once_also_behind_a_run(board: Board) -> None:
    board.load(max_new_tokens=0)
    with board.connect() as other:
        board.start_endless_run(other)
        error = board.refused("rkllm.set_chat_template", {"system_prompt": "a\0b"})
        assert (error["path"], error["keyword"]) == ("$.system_prompt", "pattern")


TOOLS = [{"type": "function", "function": {"name": "wetter", "parameters": {"ort": "Köln"}}}]
TOOLS_TEXT = '[{"type":"function","function":{"name":"wetter","parameters":{"ort":"Köln"}}}]'


@pytest.mark.parametrize(
    ("tools", "text"),
    [
        (TOOLS, TOOLS_TEXT),
        (TOOLS[0], TOOLS_TEXT[1:-1]),
        ('[ {"name": "clock"} ]', '[ {"name": "clock"} ]'),
        ([], "[]"),
    ],
    ids=["array", "object", "string as it is", "none"],
)
@pytest.mark.parametrize("form", ["flat", "positional", "wrapped", "wrapped positional"])
def test_tools_as_json_and_as_a_string(board: Board, tools: Any, text: str, form: str) -> None:
    board.load()
    named = {"system_prompt": "S", "tools": tools, "tool_response_str": "resp"}
    params: dict[str, Any] = {
        "flat": named,
        "positional": [None, *named.values()],
        "wrapped": {"tools_config": named},
        "wrapped positional": [named],
    }
    assert board.result("rkllm.set_function_tools", params[form]) == OK
    assert board.say() == f"<tool_call>{text}</tool_call>[system] S [user] Hi"
    assert board.say("sunny", role="tool") == "[system] S [tool] <resp>sunny</resp>"


def test_an_empty_string_takes_the_tools_away(board: Board) -> None:
    board.load()
    board.result("rkllm.set_function_tools", {"tools": TOOLS})
    assert board.result("rkllm.set_function_tools", {"tools": ""}) == OK
    assert "wetter" not in board.say()


def test_a_tool_without_the_other_strings(board: Board) -> None:
    board.load()
    assert board.result("rkllm.set_function_tools", {"tools": TOOLS}) == OK
    assert board.say() == f"<tool_call>{TOOLS_TEXT}</tool_call>[user] Hi"


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        (None, "$.tools", "required"),
        ({"system_prompt": "S"}, "$.tools", "required"),
        ({"tools": None}, "$.tools", "required"),
        ({"tools": 5}, "$.tools", "type"),
        ({"tools": "a\0b"}, "$.tools", "pattern"),
        ({"tools": "not json"}, "$.tools", "format"),
        ({"tools": "[{]"}, "$.tools", "format"),
        ({"tools": [], "system_prompt": []}, "$.system_prompt", "type"),
        ({"tools": [], "tool_response_str": "\0"}, "$.tool_response_str", "pattern"),
        ({"tools": [], "tool": 1}, "$.tool", "additionalProperties"),
    ],
)
def test_wrong_tools(board: Board, params: Any, path: str, keyword: str) -> None:
    board.load()
    error = board.refused("rkllm.set_function_tools", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]


def test_tools_nested_too_deeply_are_refused(board: Board) -> None:
    board.load()
    tools: Any = []
    for _ in range(400):
        tools = [tools]
    error = board.refused("rkllm.set_function_tools", {"tools": tools})
    assert (error["kind"], error["limit"]) == ("ParseError", 128), "the same of the first line of a connection"


def test_more_tools_than_any_context_holds_are_refused(board: Board) -> None:
    board.load()
    longest = f'"{"t" * (2**18 - 2)}"'
    before = board.daemon.calls("rkllm_set_function_tools")
    assert board.result("rkllm.set_function_tools", {"tools": longest})["success"]
    assert board.result("rkllm.set_function_tools", {"functions": [{"name": "f"}] * 1024})["success"]
    for params, limit in (({"tools": longest + " "}, 2**18), ({"functions": [{"name": "f"}] * 1025}, 1024)):
        error = board.refused("rkllm.set_function_tools", params)
        assert (error["code"], error["limit"]) == (-32602, limit), error["message"][:200]
    assert board.daemon.calls("rkllm_set_function_tools") == before + 2


@pytest.mark.parametrize("version", ["1.3.0"])
def test_strings_of_many_calls_do_not_pile_up(board: Board) -> None:
    """Only those of the last call can be in use; 40 calls with a megabyte each would show."""
    board.load()
    strings = {"system_prompt": "s" * 1_000_000}
    board.result("rkllm.set_chat_template", strings)
    before = board.result("server.status")["memory"]["daemon_resident_bytes"]
    for _ in range(40):
        board.result("rkllm.set_chat_template", strings)
    grown = board.result("server.status")["memory"]["daemon_resident_bytes"] - before
    assert grown < 20_000_000


# --------------------------------------------------------------------------------------------------------------------
# Cross-attention: the simulator reads one layer of one head, 8 wide

KEYS = [float(number) for number in range(16)]
CROSS = {
    "encoder_k_cache": KEYS,
    "encoder_v_cache": [0.5] * 16,
    "encoder_mask": [1, 0],
    "encoder_pos": [3, 4],
}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "params",
    [
        CROSS,
        {**CROSS, "num_tokens": 2},
        {"cross_attn_params": CROSS},
        [CROSS],
        [None, CROSS],
        {
            "encoder_k_cache": {"data": _base64(struct.pack("<16e", *KEYS)), "dtype": "float16"},
            "encoder_v_cache": {"data": _base64(struct.pack("<16f", *[0.5] * 16)), "shape": [1, 1, 8, 2]},
            "encoder_mask": _base64(struct.pack("<2f", 1, 0)),
            "encoder_pos": {"data": _base64(struct.pack("<2q", 3, 4)), "dtype": "int64"},
        },
    ],
    ids=["flat", "with num_tokens", "named", "positional", "with null", "base64"],
)
def test_cross_attention_reaches_the_runtime_and_stays(board: Board, params: Any) -> None:
    board.load(extend_param={"use_cross_attn": 1})
    assert board.result("rkllm.set_cross_attn_params", params) == {**OK, "num_tokens": 2}
    for _ in range(2):  # the simulator complains if the arrays were freed
        assert board.say() == "[cross n=2 k=120 v=8 mask=1 pos=7] [user] Hi"
    one = {**CROSS, "encoder_k_cache": [1] * 8, "encoder_v_cache": [2] * 8, "encoder_mask": [1], "encoder_pos": [9]}
    board.result("rkllm.set_cross_attn_params", one)
    assert board.say() == "[cross n=1 k=8 v=16 mask=1 pos=9] [user] Hi"


def test_a_model_without_cross_attention_is_the_runtimes_error(board: Board) -> None:
    board.load()
    error = board.error("rkllm.set_cross_attn_params", CROSS)
    assert (error["code"], error["data"]["function"]) == (-32002, "rkllm_set_cross_attn_params")


@pytest.mark.parametrize(
    ("change", "path", "keyword"),
    [
        ({"encoder_pos": None}, "$", "required"),
        ({"encoder_mask": [1]}, "$", "shape"),
        ({"encoder_k_cache": [1.0] * 15}, "$", "shape"),
        ({"encoder_pos": [1, 2.5]}, "$.encoder_pos[1]", "type"),
        ({"encoder_pos": []}, "$.encoder_pos", "minItems"),
        ({"num_tokens": 3}, "$.num_tokens", "const"),
        ({"num_tokens": 0}, "$.num_tokens", "minimum"),
        ({"encoder_q_cache": []}, "$.encoder_q_cache", "additionalProperties"),
    ],
)
def test_wrong_cross_attention(board: Board, change: dict[str, Any], path: str, keyword: str) -> None:
    board.load(extend_param={"use_cross_attn": 1})
    params = {name: value for name, value in {**CROSS, **change}.items() if value is not None}
    error = board.refused("rkllm.set_cross_attn_params", params)
    assert (error["code"], error["path"], error["keyword"]) == (-32602, path, keyword), error["message"]
